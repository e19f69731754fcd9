#!/usr/bin/env python3
"""Measures graph runs on real tables: what an edit costs against building everything anew, and one region against all.

A seeded source of events by day and region feeds tables that are computed from it and from each other, chosen by the seed: days,
look-back windows, months by region, months over all regions (up to 155 partitions), flags that rarely change, totals that go on from
the day before. Every table is edited in turn, then rows come late to single partitions. After each change the stale partitions run, and
every table is compared, row by row, with what DuckDB computes from the source by the same SQL. Others' cost is that of building all
tables anew, as schedulers do that know no partitions.

CPU seconds are those of the lakeshift processes, start and all. The second part edits a table so that only one of five regions
comes out different (a fifth of the rows) and runs that region alone; the share of the work that is not by region (months over
all regions) stands beside the least that it allows by Amdahl's law.

Usage: bench_graph.py LAKESHIFT_BINARY SCRATCH_FOLDER [--seed N] [--tables N,…] [--days N] [--rows N]
"""

import argparse
import json
import pathlib
import random
import resource
import shutil
import subprocess
from dataclasses import dataclass

import duckdb

REGIONS = ["AF", "AP", "EU", "NA", "SA"]
MONTH = "CAST(date_trunc('month', day) AS DATE)"
MARK = ".lakeshift-bench-graph"


@dataclass
class Table:
    """A computed table: its SQL with `{salt}` where an edit changes it."""

    name: str
    grain: str
    by_region: bool
    after: dict[str, str]
    sql: str
    # What reads itself, in SQL that does not; and its columns.
    whole: str | None = None
    columns: str | None = None

    @property
    def time(self) -> str:
        """The column of time."""
        return "day" if self.grain == "day" else "month"


DAILY = "SELECT day, region, k, sum(v) + {salt} AS v FROM {up} GROUP BY day, region, k"
BY_MONTH = f"SELECT {MONTH} AS month, region, k, sum(v) + {{salt}} AS v FROM {{up}} GROUP BY {MONTH}, region, k"
OVER_ALL = f"SELECT {MONTH} AS month, k, sum(v) + {{salt}} AS v FROM {{up}} GROUP BY {MONTH}, k"
WINDOW = (
    "SELECT d.day, d.region, d.k, sum(w.v) + {salt} AS v FROM {up} d JOIN {up} w ON w.region = d.region AND w.k = d.k"
    " AND w.day BETWEEN d.day - INTERVAL '6' DAY AND d.day GROUP BY d.day, d.region, d.k"
)
FLAG = "SELECT day, region, CAST(count(*) > 0 AS BIGINT) AS v FROM {up} WHERE v + {salt} > -1000000 GROUP BY day, region"
FLAGS = f"SELECT {MONTH} AS month, sum(v) + {{salt}} AS v FROM {{up}} GROUP BY {MONTH}"
TOTAL = (
    "SELECT d.day, d.region, d.v + coalesce(p.v, 0) AS v FROM (SELECT day, region, sum(v) + {salt} AS v FROM {up} GROUP BY day, region) d"
    " LEFT JOIN {name} p ON p.region = d.region AND p.day = d.day - INTERVAL '1' DAY"
)
TOTAL_WHOLE = (
    "SELECT day, region, sum(sum(v) + {salt}) OVER (PARTITION BY region ORDER BY day) AS v FROM {up} GROUP BY day, region"
)


def tables(count: int, dice: random.Random) -> list[Table]:
    """As many computed tables; the first reads the source, and so does a tenth of the others."""
    made = [Table("d0", "day", True, {"events": ""}, DAILY)]
    days, flags = ["d0"], []
    while len(made) < count:
        number = len(made)
        up = "events" if dice.random() < 0.1 else dice.choice(days)
        match dice.choices("dwmtfr", [30, 12, 22, 16, 14, 6])[0]:
            case "d":
                table = Table(f"d{number}", "day", True, {up: ""}, DAILY)
                days.append(table.name)
            case "w":
                up = dice.choice(days)
                table = Table(f"w{number}", "day", True, {up: "time: {back: 6}"}, WINDOW)
                days.append(table.name)
            case "m":
                table = Table(f"m{number}", "month", True, {up: ""}, BY_MONTH)
            case "t":
                table = Table(f"t{number}", "month", False, {up: ""}, OVER_ALL)
            case "f" if flags and dice.random() < 0.5:
                table = Table(f"f{number}", "month", False, {dice.choice(flags): ""}, FLAGS)
            case "f":
                table = Table(f"f{number}", "day", True, {up: ""}, FLAG)
                flags.append(table.name)
            case _:
                name = f"r{number}"
                table = Table(name, "day", True, {up: "", name: ""}, TOTAL, TOTAL_WHOLE, "day DATE, region VARCHAR, v BIGINT")
        made.append(table)
    return made


def chain(share: float) -> list[Table]:
    """A small graph of which about that share is not by region."""
    made = [Table("a", "day", True, {"events": ""}, DAILY), Table("b", "day", True, {"a": ""}, DAILY)]
    # The more of these, the more of the work has no region.
    count = {0.0: 0, 0.05: 4, 0.2: 17}[share]
    return made + [Table(f"m{n}", "month", False, {"b": ""}, OVER_ALL) for n in range(count)]


def sql_of(table: Table, salts: dict[str, str]) -> str:
    """The table's query with its salt."""
    return table.sql.format(up=next(iter(table.after)), salt=salts.get(table.name, "0"), name=table.name)


def whole(table: Table, salts: dict[str, str]) -> str:
    """The same for DuckDB, over all time at once."""
    return (table.whole or table.sql).format(up=next(iter(table.after)), salt=salts.get(table.name, "0"))


def yaml(name: str, made: list[Table], salts: dict[str, str]) -> str:
    """The graph's file."""
    text = [f"graph: {name}", "control: lake/control", "tables:"]
    text += ["  events:", "    format: hive", "    location: lake/events"]
    text += ["    time: {column: day, grain: day}", "    entity: {column: region}"]
    for table in made:
        text += [f"  {table.name}:", "    format: delta", f"    location: lake/{name}/{table.name}"]
        text += [f"    time: {{column: {table.time}, grain: {table.grain}}}"]
        text += ["    entity: {column: region}"] if table.by_region else []
        text += [f"    columns: [{table.columns}]"] if table.columns else []
        text += [f"    sql: {json.dumps(sql_of(table, salts))}"]
        text += ["    after:"] + [f"      {up}: {{{rule}}}" for up, rule in table.after.items()]
    return "\n".join(text) + "\n"


class Bench:
    """A source and graphs over it in a scratch folder."""

    def __init__(self, lakeshift: str, folder: pathlib.Path, seed: int, days: int, rows: int):
        if folder.exists() and not (folder / MARK).exists():
            raise SystemExit(f"{folder} exists and is not a folder of this benchmark; name another one")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / MARK).touch()
        self.lakeshift, self.folder, self.days = lakeshift, folder, days
        self.db = duckdb.connect()
        self.db.execute("SET threads = 2")
        self.db.execute(
            f"""CREATE TABLE events AS SELECT DATE '2001-01-01' + CAST(d AS INTEGER) AS day, r AS region,
            CAST(hash(i, d, r, {seed}) % 50 AS BIGINT) AS k, CAST(hash(i, r, d, {seed}, 1) % 1000 AS BIGINT) AS v
            FROM range({days}) t(d), (SELECT unnest({REGIONS}) AS r), range({rows}) u(i)"""
        )
        self.db.execute(
            f"COPY events TO '{folder}/lake/events' (FORMAT parquet, PARTITION_BY (day, region), OVERWRITE_OR_IGNORE)"
            if (folder / "lake").mkdir() is None
            else ""
        )

    def late(self, day: int, region: str, nth: int) -> None:
        """Ten rows more in one partition of the source, in a file of their own."""
        self.db.execute(
            f"""CREATE OR REPLACE TABLE main.late AS SELECT DATE '2001-01-01' + {day} AS day, '{region}' AS region,
            CAST(i AS BIGINT) AS k, CAST({nth} AS BIGINT) AS v FROM range(10) t(i)"""
        )
        self.db.execute("INSERT INTO main.events SELECT * FROM main.late")
        date = self.db.execute(f"SELECT CAST(DATE '2001-01-01' + {day} AS VARCHAR)").fetchone()[0]
        file = self.folder / "lake" / "events" / f"day={date}" / f"region={region}" / f"late-{nth}.parquet"
        self.db.execute(f"COPY (SELECT k, v FROM main.late) TO '{file}' (FORMAT parquet)")

    def run(self, *arguments: str) -> tuple[dict, float]:
        """Runs a graph command; its answer and its CPU seconds."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [self.lakeshift, "--quiet", "--format", "json", "graph", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}{done.stdout}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(done.stdout), cpu

    def write(self, name: str, made: list[Table], salts: dict[str, str]) -> str:
        """Writes a graph's file; its name."""
        (self.folder / f"{name}.yaml").write_text(yaml(name, made, salts))
        return f"{name}.yaml"

    def check(self, name: str, made: list[Table], salts: dict[str, str]) -> None:
        """Compares every table with what DuckDB makes of the source."""
        self.db.execute("DROP SCHEMA IF EXISTS expected CASCADE; CREATE SCHEMA expected; SET search_path = 'expected,main'")
        for table in made:
            self.db.execute(f"CREATE TABLE expected.{table.name} AS {whole(table, salts)}")
            log = self.folder / "lake" / name / table.name
            live = live_files(log)
            keys = "day, region, k, v" if table.grain == "day" else "month, region, k, v"
            columns = [one for one in keys.split(", ") if self.has(table, one)]
            casts = ", ".join(f"CAST({one} AS {'DATE' if one in ('day', 'month') else 'VARCHAR' if one == 'region' else 'BIGINT'}) AS {one}" for one in columns)
            ours = f"SELECT {casts} FROM read_parquet({live}, hive_partitioning = true)"
            theirs = f"SELECT {casts} FROM expected.{table.name}"
            for one, other in [(ours, theirs), (theirs, ours)]:
                extra = self.db.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})").fetchone()[0]
                if extra:
                    raise SystemExit(f"{name}.{table.name}: {extra} rows differ from what DuckDB computes")

    def share_of_last_run(self, graph: str, tables: list[str]) -> float:
        """What part of the last run's computing went into these tables, by the versions that it left."""
        versions = f"{self.folder}/lake/control/graphs/{graph}/versions"
        newest = max(pathlib.Path(versions).glob("*.parquet"))
        query = f"""SELECT coalesce(sum(took_ms) FILTER (list_contains({tables}::VARCHAR[], "table")), 0) / sum(took_ms)
            FROM '{newest}' WHERE ran IS NOT NULL"""
        return float(self.db.execute(query).fetchone()[0])

    @staticmethod
    def has(table: Table, column: str) -> bool:
        """Whether a table has a column."""
        return column == table.time or column == "v" or (column == "k" and " k," in table.sql.replace(".k,", " k,")) or (
            column == "region" and table.by_region
        )


def live_files(table: pathlib.Path) -> list[str]:
    """The files of a Delta table, by deltalake."""
    import deltalake  # noqa: PLC0415 -- heavy, and wanted here alone

    return deltalake.DeltaTable(str(table)).file_uris()


def edits(bench: Bench, count: int, dice: random.Random) -> None:
    """Every table edited in turn, then late rows, against building all anew."""
    made = tables(count - 1, dice)
    name = f"graph{count}"
    salts: dict[str, str] = {}
    bench.run("run", bench.write(name, made, salts))
    bench.check(name, made, salts)
    _, full = bench.run("run", bench.write(f"full{count}", made, salts))
    print(f"{count} tables; CPU seconds of the full graph: {full:.1f}")
    kinds = "".join(sorted(table.name[0] for table in made))
    print(f"computed: {len(made)}, of them {', '.join(f'{kinds.count(kind)} {kind}' for kind in sorted(set(kinds)))}\n")
    others = ["full_graph", "descendants", "descendants_in_interval"]
    print(f"{'changed':<16} {'partitions':>10} {'of all':>7} {'of desc.':>8} {'in time':>7} {'rows':>7} {'committed':>9} {'CPU s':>7} {'of all':>7}")
    shares: dict[str, list] = {"root": [], "edit": [], "late": []}

    def change(kind: str, what: str) -> None:
        file = bench.write(name, made, salts)
        plan, _ = bench.run("plan", file)
        report, cpu = bench.run("run", file)
        ran = report["wave"]["done"]
        of = [ran / plan["comparison"][other]["tasks"] for other in others]
        rows = report["rows"] / plan["comparison"]["full_graph"]["rows"]
        shares[kind].append((*of, rows, cpu / full))
        print(
            f"{what:<16} {ran:>10} {of[0]:>7.1%} {of[1]:>8.1%} {of[2]:>7.1%} {rows:>7.1%} {report['replaced']:>9} {cpu:>7.1f}"
            f" {cpu / full:>7.1%}",
            flush=True,
        )
        bench.check(name, made, salts)

    order = list(made)
    dice.shuffle(order)
    for nth, table in enumerate(order, 1):
        # Nothing that a flag tells changes by it.
        salts[table.name] = str(nth)
        change("root" if "events" in table.after else "edit", table.name)
    for nth in range(6):
        day, region = dice.randrange(bench.days), dice.choice(REGIONS)
        bench.late(day, region, nth + 1)
        change("late", f"day {day} {region}, late")
    names = {"root": "edits of what reads the source", "edit": "edits of all others", "late": "late rows"}
    for kind, found in shares.items():
        middle = [sorted(share[at] for share in found)[len(found) // 2] for at in range(5)]
        mean = [sum(share[at] for share in found) / len(found) for at in range(5)]
        for what, numbers in [("median", middle), ("mean", mean)]:
            all_, desc, interval, rows, cpu = numbers
            print(
                f"{names[kind]} ({len(found)}), {what}: {all_:.1%} of all partitions, {desc:.1%} of the descendants, {interval:.1%} of those in"
                f" the affected time, {rows:.1%} of the rows written, {cpu:.1%} of the CPU time"
            )
    print("every table was equal, row by row, to what DuckDB computed, after each change\n")


def one_region(bench: Bench) -> None:
    """One region of five against all, by how much of the work has no region."""
    print(f"{'not by region':>13} {'CPU s, all':>10} {'CPU s, EU':>10} {'ratio':>7} {'Amdahl':>7} {'bytes':>7}")
    for share in (0.0, 0.05, 0.2):
        made, name = chain(share), f"share{int(share * 100)}"
        bench.run("run", bench.write(name, made, {}))
        # All regions come out different, then only one of them.
        everywhere, cpu_all = bench.run("run", bench.write(name, made, {"a": "1"}))
        without_region = bench.share_of_last_run(name, [table.name for table in made if not table.by_region])
        only = "CASE WHEN region = 'EU' THEN 2 ELSE 1 END"
        file = bench.write(name, made, {"a": only})
        eu, cpu_eu = bench.run("run", file, "--entity", "EU")
        measured = without_region
        line = measured + (1 - measured) / len(REGIONS)
        print(
            f"{measured:>13.0%} {cpu_all:>10.1f} {cpu_eu:>10.1f} {cpu_eu / cpu_all:>7.2f} {line:>7.2f}"
            f" {eu['bytes'] / everywhere['bytes']:>7.2f}"
        )
        bench.run("run", file)
        bench.check(name, made, {"a": only})


def main() -> None:
    """Runs both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lakeshift")
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables", default="20,55", help="of each graph, the source counted; `` for the second part alone")
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rows", type=int, default=2000, help="rows of the source by day and region")
    given = parser.parse_args()
    lakeshift, folder = str(pathlib.Path(given.lakeshift).resolve()), pathlib.Path(given.folder).resolve()
    bench = Bench(lakeshift, folder, given.seed, given.days, given.rows)
    print(f"seed {given.seed}, {given.days} days, {len(REGIONS)} regions, {given.rows} rows each\n")
    for count in filter(None, given.tables.split(",")):
        edits(bench, int(count), random.Random(given.seed))
    one_region(bench)


if __name__ == "__main__":
    main()
