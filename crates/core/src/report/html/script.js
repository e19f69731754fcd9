"use strict";
// Draws the report from its data. Foreign text is only ever set as text, never parsed as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");
  const states = new Map(data.states.map((state) => [state.name, state]));
  const hidden = new Set();
  const CELLS_SHOWN = 25;
  const SAMPLES_SHOWN = 20;

  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
    return node;
  };
  const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const count = (number) => number.toLocaleString("en-US");
  const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
  const short = (number) => (number === null || number === undefined ? "" : String(Number(number.toPrecision(6))));
  const code = (text) => el("code", {}, text);

  const section = (id, title, ...children) => {
    const node = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
    main.append(node);
    return node;
  };
  // Columns are [title, kind]; on a phone each row becomes a block with the titles beside the values.
  const table = (caption, columns, rows) => {
    const kind = (column) => (column[1] === "number" ? "number" : null);
    const cell = (value, at) => el("td", { class: kind(columns[at]), "data-label": columns[at][0] }, value === "" ? null : value);
    return el("div", { class: "scroll" },
      el("table", { class: "stack", "aria-label": caption },
        el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col", class: kind(column) }, column[0])))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))));
  };
  const key = (state) => el("span", { class: "key", style: `background:var(--${state.name})`, "aria-hidden": "true" }, state.symbol);
  const stateText = (name) => el("span", { class: "state" }, key(states.get(name)), states.get(name).words);

  const search = (label, onInput) => {
    const input = el("input", { type: "search", placeholder: label, "aria-label": label });
    input.addEventListener("input", () => onInput(input.value.trim().toLowerCase()));
    return input;
  };

  // ---- map and cells ------------------------------------------------------------------------------------------------
  const tiles = [];
  let redrawCells = () => {};

  const filters = () => {
    const totals = new Map();
    for (const row of data.map.rows) for (const tile of row.tiles) if (tile) totals.set(tile[5], (totals.get(tile[5]) || 0) + 1);
    const chip = (state) => {
      const node = el("button", { type: "button", class: "chip", "aria-pressed": "true", "data-state": state.name },
        key(state), `${state.words} (${count(totals.get(state.name))})`);
      node.addEventListener("click", () => {
        if (!hidden.delete(state.name)) hidden.add(state.name);
        node.setAttribute("aria-pressed", String(!hidden.has(state.name)));
        for (const tile of tiles) tile.node.classList.toggle("off", hidden.has(tile.state));
        redrawCells();
      });
      return node;
    };
    return el("div", { class: "chips", role: "group", "aria-label": "States shown" },
      data.states.filter((state) => totals.has(state.name)).map(chip));
  };

  const describe = (tile) => {
    const [label, cells, differing, old, fresh, state] = tile;
    const many = cells > 1 ? ` · ${plural(cells, "cell")}${differing ? `, ${count(differing)} of them differ` : ""}` : "";
    return `${label}: ${states.get(state).words}${many} · ${count(old)} rows old, ${count(fresh)} new`;
  };

  const drawMap = () => {
    const rows = data.map.rows;
    const columns = Math.max(...rows.map((row) => row.tiles.length));
    const size = 10, gap = 1, shownLabel = (label) => (label.length > 11 ? `${label.slice(0, 10)}…` : label);
    const left = 4.4 * Math.max(...rows.map((row) => shownLabel(row.label).length)) + 4;
    const most = Math.max(1, ...rows.flatMap((row) => row.tiles.map((tile) => (tile ? Math.max(tile[3], tile[4]) : 0))));
    const shade = (tile) => 0.55 + 0.45 * (Math.log1p(Math.max(tile[3], tile[4])) / Math.log1p(most));
    const width = Math.max(left + columns * size, 240), height = rows.length * size + 1;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0",
      "aria-label": `Map of ${count(data.cells_all)} cells by state. The table below has the same in words.` });
    rows.forEach((row, y) => {
      picture.append(svg("text", { x: 0, y: y * size + 7.5 }, shownLabel(row.label)));
      row.tiles.forEach((tile, x) => {
        const place = { x: left + x * size, y: y * size + 0.5, width: size - gap, height: size - gap, rx: 1.5 };
        if (!tile) { picture.append(svg("rect", { ...place, fill: "var(--empty)" })); return; }
        const state = states.get(tile[5]);
        const node = svg("rect", { ...place, class: "tile", fill: `var(--${state.name})`, opacity: shade(tile).toFixed(2), "data-at": tiles.length });
        tiles.push({ node, tile, state: state.name });
        picture.append(node);
        if (state.symbol) picture.append(svg("text", { class: "mark", x: place.x + 4.5, y: place.y + 7.3 }, state.symbol));
      });
    });
    picture.style.maxWidth = `${width * 2.6}px`;
    return picture;
  };

  const cellTable = () => {
    const holder = el("div", {});
    let wanted = "", shown = CELLS_SHOWN;
    redrawCells = () => {
      const fits = (cell) => !hidden.has(cell.state) && (!wanted || cell.label.toLowerCase().includes(wanted)
        || (cell.columns || []).some((column) => column.toLowerCase().includes(wanted)));
      const found = data.cells.filter(fits);
      const row = (cell) => [code(cell.label), stateText(cell.state), count(cell.old), count(cell.new),
        cell.earlier ? count(cell.earlier) : "", (cell.columns || []).join(", ")];
      const columns = [["cell"], ["state"], ["rows old", "number"], ["rows new", "number"], ["from earlier", "number"], ["columns that differ"]];
      const kept = data.cells.length < data.cells_all ? ` (the page keeps ${count(data.cells.length)} of ${count(data.cells_all)}, the differing ones first; report.json has all)` : "";
      const more = el("button", { type: "button", class: "chip" }, `show ${count(Math.min(found.length - shown, 400))} more`);
      more.addEventListener("click", () => { shown += 400; redrawCells(); });
      holder.replaceChildren(
        el("p", { class: "dim", role: "status" }, `${plural(Math.min(found.length, shown), "cell")} of ${count(found.length)}${kept}`),
        found.length ? table("Cells", columns, found.slice(0, shown).map(row)) : "",
        found.length > shown ? more : "");
    };
    const input = search("Search cells and columns", (text) => { wanted = text; shown = CELLS_SHOWN; redrawCells(); });
    redrawCells();
    return [input, holder];
  };

  const map = () => {
    if (!data.map) return;
    const detail = el("p", { class: "detail", role: "status" }, "Point at a tile, or tap it.");
    const picture = drawMap();
    const choose = (at) => {
      const chosen = tiles[at];
      if (!chosen) return;
      for (const tile of tiles) tile.node.classList.toggle("chosen", tile === chosen);
      picture.dataset.at = at;
      detail.textContent = describe(chosen.tile);
    };
    const pointed = (event) => { if (event.target.dataset && event.target.dataset.at && event.target !== picture) choose(Number(event.target.dataset.at)); };
    picture.addEventListener("pointerover", pointed);
    picture.addEventListener("click", pointed);
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = Number(picture.dataset.at ?? -1) + step;
      choose(Math.min(Math.max(at, 0), tiles.length - 1));
    });
    const told = data.map.grouped ? "A tile stands for one cell or several neighbours; the worst gives the colour. Stronger colour: more rows." : "A tile is a cell. Stronger colour: more rows.";
    const proven = data.proven ? ` and ${plural(data.proven, "partition")} of the same files` : "";
    section("map", `Partitions: ${plural(data.cells_all, "cell")}${proven}`, el("p", { class: "dim" }, told), filters(),
      el("div", { class: "map" }, picture), detail);
  };

  const cells = () => {
    if (data.cells.length) section("cells", "Cells", ...cellTable());
  };

  // ---- rows ---------------------------------------------------------------------------------------------------------
  const columnBars = () => {
    const columns = data.rows.columns;
    if (!columns.length) return;
    const most = Math.max(1, ...columns.map((column) => column.unequal + column.tolerated));
    const bar = (number, colour, title) => (number ? el("span", { class: "bar", title, style: `width:${(100 * number / most).toFixed(1)}px;background:var(--${colour})` }) : null);
    const row = (column) => [code(column.column),
      el("span", { class: "bars" }, bar(column.unequal - column.null_flips, "differs", "unequal values"),
        bar(column.null_flips, "old_only", "null on one side"), bar(column.tolerated, "excused", "within tolerance")),
      count(column.unequal), count(column.null_flips), count(column.tolerated),
      short(column.largest_absolute), short(column.largest_relative), column.guess || ""];
    const legend = [["differs", "unequal values"], ["old_only", "null on one side only"], ["excused", "within tolerance"]];
    section("columns", "Columns of the changed rows",
      el("p", { class: "chips" }, legend.map(([name, words]) => el("span", { class: "state" }, el("span", { class: "key", style: `background:var(--${name})` }), words))),
      table("Columns of the changed rows", [["column"], ["rows"], ["unequal", "number"], ["null flips", "number"], ["tolerated", "number"],
        ["largest difference", "number"], ["relative", "number"], ["what it looks like"]], columns.map(row)));
  };

  const ledger = () => {
    if (!data.rows.accepted.length) return;
    const row = (entry) => [code(entry.id), entry.owner, entry.reason, entry.expires, count(entry.max_rows), count(entry.rows),
      entry.objection ? el("strong", {}, entry.objection) : "holds"];
    section("ledger", "Accepted differences", table("Accepted differences", [["entry"], ["owner"], ["reason"], ["expires"], ["rows at most", "number"],
      ["rows absorbed", "number"], ["objection"]], data.rows.accepted.map(row)));
  };

  const sampleRow = (row) => {
    const value = (text, kind) => el("span", { class: `mono ${kind}` }, text);
    const values = (column) => {
      const { old, new: fresh } = column;
      if (old !== undefined && fresh !== undefined) return old === fresh ? value(old, "") : [value(old, "old-value"), " → ", value(fresh, "new-value")];
      return old !== undefined ? value(old, "old-value") : fresh !== undefined ? value(fresh, "new-value") : "";
    };
    const copies = row.copies > 1 ? ` × ${count(row.copies)}` : "";
    return el("div", { class: "sample" },
      el("p", {}, el("span", { class: "kind" }, row.kind), `${copies} in `, code(row.cell), row.accepted_by ? ` · accepted by ${row.accepted_by}` : null),
      el("dl", {}, row.columns.flatMap((column) => [el("dt", {}, column.column), el("dd", {}, values(column))])),
      row.more_columns ? el("p", { class: "dim" }, `and ${plural(row.more_columns, "more column")}`) : null,
      row.query ? el("pre", {}, row.query) : null);
  };

  const samples = () => {
    const all = data.rows.sample;
    if (!all.length) return;
    const holder = el("div", {});
    const kinds = [...new Set(all.map((row) => row.kind))];
    const off = new Set();
    let wanted = "", shown = SAMPLES_SHOWN;
    const draw = () => {
      const text = (row) => [row.kind, row.cell, row.accepted_by, ...row.columns.flatMap((column) => [column.column, column.old, column.new])].join("\n").toLowerCase();
      const found = all.filter((row) => !off.has(row.kind) && (!wanted || text(row).includes(wanted)));
      const more = el("button", { type: "button", class: "chip" }, "show more");
      more.addEventListener("click", () => { shown += 50; draw(); });
      holder.replaceChildren(el("p", { class: "dim", role: "status" }, `${plural(Math.min(found.length, shown), "row")} of ${count(found.length)} sampled`),
        ...found.slice(0, shown).map(sampleRow), found.length > shown ? more : "");
    };
    const chip = (kind) => {
      const node = el("button", { type: "button", class: "chip", "aria-pressed": "true" }, kind);
      node.addEventListener("click", () => {
        if (!off.delete(kind)) off.add(kind);
        node.setAttribute("aria-pressed", String(!off.has(kind)));
        draw();
      });
      return node;
    };
    const masked = data.rows.masked ? "Values are masked; equal values of one column have equal tokens within this report. " : "";
    const from = data.rows.export ? `All differing rows are in ${data.rows.export}.` : "";
    section("samples", "Sample of the differing rows", el("p", { class: "dim" }, masked + from),
      el("div", { class: "chips", role: "group", "aria-label": "Kinds shown" }, kinds.map(chip)),
      search("Search the sampled rows", (text) => { wanted = text; shown = SAMPLES_SHOWN; draw(); }), holder);
    draw();
  };

  const rows = () => {
    if (!data.rows) return;
    const found = data.rows, keyed = found.mode.keyed;
    const how = keyed ? ["By key ", code(keyed.columns.join(", ")), ": "] : ["Compared as bags of whole rows: "];
    const facts = [`${count(found.missing)} missing in the new table, ${count(found.extra)} extra, ${count(found.changed)} changed`];
    if (found.tolerated) facts.push(`${count(found.tolerated)} more differ within their tolerance`);
    const double = found.duplicate_keys ? ` ${plural(found.duplicate_keys, "key")} ${found.duplicate_keys === 1 ? "stands" : "stand"} in more than one row; these were compared as bags.` : "";
    section("rows", "Differing rows", el("p", {}, ...how, facts.join("; "), ".", double));
    columnBars();
    ledger();
    samples();
  };

  // ---- what was compared --------------------------------------------------------------------------------------------
  const checks = () => section("checks", "Checks", table("Checks", [["check"], ["result"], ["what was found"], ["what a PASS proves"]],
    data.checks.map((check) => [check.name, el("span", { class: `result ${check.result}` }, check.result), check.detail, check.proves])));

  const inputs = () => section("inputs", "Inputs",
    table("Inputs", [["side"], ["format"], ["location"], ["version"], ["files", "number"], ["size", "number"]],
      data.sides.map((side) => [side.name, side.facts.format, code(side.facts.location), code(side.facts.version), count(side.facts.files), side.size])),
    el("p", { class: "dim" }, "Spec ", code(data.run.spec_digest), ` · ${data.run.tool_version} · ${data.run.started_at}`),
    data.certificate ? el("p", { class: "dim" }, "Certificate ", code(data.certificate)) : null);

  const schema = () => {
    const row = (column) => [code(column.old ?? "—"), column.old_type ?? "—", code(column.new ?? "—"), column.new_type ?? "—",
      column.reason ? `not compared: ${column.reason}` : column.types ? [column.types, column.old !== column.new ? ", renamed" : "",
        column.nullability === "same" ? "" : `, nullability ${column.nullability}`].join("") : "not compared: one table has it"];
    const more = data.schema_all > data.schema.length ? el("p", { class: "dim" }, `and ${count(data.schema_all - data.schema.length)} more, in report.json`) : null;
    section("schema", "Schema", el("details", {}, el("summary", {}, plural(data.schema_all, "column")),
      table("Schema", [["old"], ["type"], ["new"], ["type"], ["match"]], data.schema.map(row)), more));
  };

  const reproduce = () => section("reproduce", "Reproduce", el("pre", {}, data.run.reproduce.join("\n")),
    el("p", { class: "dim" }, "Key ", code(data.method.key), ` · encoding ${data.method.encoding.version}`));

  checks();
  map();
  rows();
  cells();
  section("coverage", "Coverage", el("ul", {}, data.coverage.map((fact) => el("li", {}, fact))));
  inputs();
  schema();
  reproduce();
  // For the test that opens this page.
  document.documentElement.dataset.tiles = tiles.length;
})();
