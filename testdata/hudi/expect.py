"""The rows of Hudi's golden tables, found by another reader than Lakeshift: base files by pyarrow, logs by fastavro.

python3 expect.py GOLDEN OUT

GOLDEN has a folder for each unpacked zip, OUT gets <zip's name>.parquet with the rows of the latest snapshot, without
Hudi's own columns. The rules are those of Hudi's technical specification, written down in the shortest way; the tables
must not need more (no pending instants, no rollbacks, one ordering field).
"""
import sys, os, glob, json, io, struct, re
import pyarrow as pa, pyarrow.parquet as pq, fastavro

def props(t):
    d = {}
    for l in open(t + '/.hoodie/hoodie.properties'):
        if '=' in l and not l.startswith('#'):
            k, v = l.rstrip('\n').split('=', 1)
            d[k] = v.replace('\\:', ':').replace('\\=', '=')
    return d

def timeline(t, p):
    v2 = p.get('hoodie.timeline.layout.version') == '2'
    folder = t + '/.hoodie/' + ('timeline' if v2 else '')
    done = {}
    for f in os.listdir(folder):
        m = re.fullmatch(r'(\d{14,17})(?:_(\d{14,17}))?\.(commit|deltacommit|replacecommit)', f)
        if m:
            b = open(os.path.join(folder, f), 'rb').read()
            meta = next(iter(fastavro.reader(io.BytesIO(b)))) if b[:3] == b'Obj' else json.loads(b)
            done[m[1]] = (m[2], meta)
    return done

def log_records(path, done):
    """[(kind, key or record dict, ordering)] of committed blocks, in order."""
    b = open(path, 'rb').read(); o = 0; out = []
    while o < len(b):
        assert b[o:o+6] == b'#HUDI#'
        q = o + 14 + 4; typ, = struct.unpack('>i', b[q:q+4]); q += 4
        n, = struct.unpack('>i', b[q:q+4]); q += 4; h = {}
        for _ in range(n):
            k, l = struct.unpack('>ii', b[q:q+8]); h[k] = b[q+8:q+8+l].decode(); q += 8 + l
        cl, = struct.unpack('>q', b[q:q+8]); c = b[q+8:q+8+cl]; q += 8 + cl
        n, = struct.unpack('>i', b[q:q+4]); q += 4; assert n == 0
        q += 8; o = q
        assert h[0] in done, 'an uncommitted block'
        if typ == 3:
            schema = fastavro.parse_schema(json.loads(h[2]))
            count, = struct.unpack('>i', c[4:8]); p = 8
            for _ in range(count):
                l, = struct.unpack('>i', c[p:p+4])
                out.append(('row', fastavro.schemaless_reader(io.BytesIO(c[p+4:p+4+l]), schema))); p += 4 + l
        elif typ == 5:
            for r in pq.read_table(io.BytesIO(c)).to_pylist(): out.append(('row', r))
        elif typ == 1:
            s = fastavro.parse_schema(json.load(open(os.path.join(os.path.dirname(__file__), '../../crates/exec/src/hudi/deletes.avsc'))))
            for d in fastavro.schemaless_reader(io.BytesIO(c[8:]), s)['deleteRecordList']:
                out.append(('delete', d['recordKey'], d['orderingVal']))
        else: raise Exception(typ)
    return out

def read(t):
    p = props(t); done = timeline(t, p)
    v2 = p.get('hoodie.timeline.layout.version') == '2'
    replaced = set()
    for _, m in done.values():
        for part, ids in (m.get('partitionToReplaceFileIds') or {}).items(): replaced |= {(part, i) for i in ids}
    bases, logs = {}, {}
    for d, _, fs in os.walk(t):
        rel = os.path.relpath(d, t); rel = '' if rel == '.' else rel
        if rel.startswith('.hoodie'): continue
        for f in fs:
            if m := re.fullmatch(r'(.+)_([\d-]+)_(\d{14,17})\.parquet', f):
                if m[3] in done: bases.setdefault((rel, m[1]), {})[m[3]] = os.path.join(d, f)
            elif m := re.fullmatch(r'\.(.+)_(\d{14,17})\.log\.(\d+)_([\d-]+)', f):
                if m[2] in done: logs.setdefault((rel, m[1]), []).append((m[2], int(m[3]), os.path.join(d, f)))
    order = (p.get('hoodie.table.ordering.fields') or p.get('hoodie.table.precombine.field') or '')
    tables = []
    for g in sorted(set(bases) | set(logs)):
        if g in replaced: continue
        b = max(bases.get(g, {}), default=None)
        tab = pq.ParquetFile(bases[g][b]).read()
        schema = pa.schema([f for f in tab.schema if not f.name.startswith('_hoodie_')])
        rows = {r['_hoodie_record_key'] if r['_hoodie_record_key'] is not None else i: r for i, r in enumerate(tab.to_pylist())}
        assert len(rows) == tab.num_rows
        use = [l for l in sorted(logs.get(g, [])) if (l[0] >= b if not v2 else done[l[0]][0] >= b)]
        for l in use:
            for e in log_records(l[2], done):
                if e[0] == 'row':
                    k = e[1]['_hoodie_record_key']
                    if k in rows and order and e[1][order] < rows[k][order]: continue
                    rows[k] = e[1]
                else:
                    # Deletes of these tables have no ordering value, or Hudi's default for none.
                    assert e[2] in (None, {'value': 0}), e
                    rows.pop(e[1], None)
        names = [f.name for f in schema]
        out = [{n: r.get(n) for n in names} for r in rows.values()]
        tables.append(pa.Table.from_pylist(out, schema=schema))
    return pa.concat_tables(tables, promote_options='default') if tables else None

if __name__ == '__main__':
    src, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    for d in sorted(os.listdir(src)):
        t = next(iter(glob.glob(f'{src}/{d}/*/.hoodie')), None)
        if not t: continue
        tab = read(os.path.dirname(t))
        print(d, None if tab is None else tab.num_rows)
        if tab is not None:
            pq.write_table(tab, f'{out}/{d}.parquet')
