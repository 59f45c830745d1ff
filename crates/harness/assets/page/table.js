// The table: one row a configuration. Sorts, filters, selects.

/// Name, what a cell sorts by, what it shows, whether larger values come first, and whether it is shown only among all.
function columns() {
  const qualities = page.qualities.map((q, i) => ({
    name: qualityName(q),
    value: (c) => middle(c.quality[i]),
    show: (c) => quality(c, i),
    largestFirst: q.higher_is_closer,
    further: q.further,
  }));
  const all = [
    { name: "policy", value: (c) => c.name, show: (c) => text(c.name), word: true },
    { name: "knob", value: (c) => c.knob && c.knob[1], show: (c) => text(knobText(c)), word: true },
    { name: "speed-up", value: (c) => middle(c.speedup), show: (c) => interval(c.speedup, 2, "×"), largestFirst: true },
    { name: "compute", value: (c) => c.compute, show: (c) => percent(c.compute) },
    { name: "realised", value: (c) => c.realised, show: (c) => percent(c.realised), largestFirst: true, further: true },
    ...qualities,
    ...(group().configurations.some((c) => c.frechet !== null)
      ? [{ name: "Fréchet I3D", value: (c) => c.frechet, show: (c) => (c.frechet === null ? "–" : c.frechet.toFixed(2)) }] : []),
    { name: "cache MiB", value: (c) => c.cache_peak_bytes, show: (c) => mebibytes(c.cache_peak_bytes) },
    { name: "reads", value: (c) => c.reads, show: (c) => plain(c.reads), further: true },
    { name: "looks", value: (c) => c.looks, show: (c) => plain(c.looks) },
    {
      name: "runs",
      value: (c) => c.runs,
      show: (c) => c.runs + (c.failures ? ` <span class="failed">${c.failures} failed</span>` : ""),
      largestFirst: true,
    },
  ];
  return all.filter((column) => state.allColumns || !column.further);
}

function buildTable() {
  const all = columns();
  const head = all.map((column, i) => sortableHead(column.name, i, column.word));
  const rows = group().configurations.map((c, place) => {
    const cells = all.map((column) => `<td class="${column.word ? "" : "number"}">${column.show(c)}</td>`);
    const pick = `<td class="pick"><span><input type="checkbox" aria-label="select ${text(c.label)}">${swatch(c.series)}</span></td>`;
    return `<tr data-place="${place}">${pick}${cells.join("")}</tr>`;
  });
  at("frechet").textContent = group().frechet;
  at("table").innerHTML = `<thead><tr><th aria-label="selected"></th>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody>`;
  showRows();
  markSelected();
}

const rowsShown = () => [...at("table").tBodies[0].rows].filter((row) => !row.hidden);

function showRows() {
  const rows = [...at("table").tBodies[0].rows];
  for (const row of rows) row.hidden = !passes(configuration(Number(row.dataset.place)));
  const shown = rowsShown().length;
  at("shown").textContent = shown === rows.length ? `${rows.length} configurations` : `${shown} of ${rows.length}`;
}

function markSelected() {
  for (const row of at("table").tBodies[0].rows) {
    const selected = state.selected.includes(Number(row.dataset.place));
    row.classList.toggle("selected", selected);
    row.querySelector("input").checked = selected;
  }
}

function sortBy(column) {
  const { value, largestFirst, word } = columns()[column];
  sortRows(at("table"), column, (row) => value(configuration(Number(row.dataset.place))), { largestFirst, word });
}

function startTable() {
  const table = at("table");
  table.addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    if (button) return sortBy(Number(button.dataset.column));
    const row = event.target.closest("tbody tr");
    if (row) toggle(Number(row.dataset.place));
  });
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    if (event.key === "Enter") return toggle(Number(row.dataset.place));
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const rows = rowsShown();
    rows[rows.indexOf(row) + move]?.querySelector("input").focus();
  });
  table.addEventListener("mouseover", (event) => {
    const row = event.target.closest("tbody tr");
    choose({ hover: row ? Number(row.dataset.place) : focused() });
  });
  table.addEventListener("mouseleave", () => choose({ hover: focused() }));
  at("filter").addEventListener("input", () => choose({ filter: at("filter").value }));
  at("all-columns").addEventListener("change", () => choose({ allColumns: at("all-columns").checked }));
  drawn(["group", "allColumns"], buildTable);
  drawn(["filter", "controls"], showRows);
  drawn(["selected"], markSelected);
}
