// Policies at equal quality, at equal work, at equal speed: the tables of report.md, one at a time, to be sorted.

const compared = { sheet: 0, at: null }; // place of a sheet in the group, and the value of its first column that is shown

const sheet = () => group().compared[compared.sheet];

/// The values that a sheet is shown at, in its order.
const values = () => [...new Set(sheet().rows.map((row) => row.cells[0]))];

/// The value that most policies reach; of several the one in the middle.
function fullest() {
  const counts = values().map((value) => sheet().rows.filter((row) => row.cells[0] === value).length);
  const most = values().filter((_, i) => counts[i] === Math.max(...counts));
  return most[Math.floor((most.length - 1) / 2)];
}

function figureOf(value, { digits, unit, scale }) {
  return `${(scale * value).toFixed(digits)}${unit}`;
}

/// What a cell says: words, a number, or a number with the ends of its interval.
function cellText(cell, column) {
  if (cell === null) return "–";
  if (column.word) return text(cell);
  if (!Array.isArray(cell)) return figureOf(cell, column);
  const [value, low, high] = cell, ends = { ...column, unit: "" };
  if (low === null) return figureOf(value, column);
  const half = figureOf((high - low) / 2, ends);
  return `${figureOf(value, column)} <small>${column.ends ? `[${figureOf(low, ends)}, ${figureOf(high, ends)}]` : `± ${half}`}</small>`;
}

function drawChoice() {
  const all = group().compared;
  at("compared-section").hidden = !all.length;
  if (!all.length) return;
  compared.sheet = 0;
  at("compared").innerHTML = all.map((s, i) => `<option value="${i}">${text(s.title)}</option>`).join("");
  drawSheet();
}

function drawSheet() {
  const { words, by_first, columns } = sheet();
  const label = at("compared-at").closest("label");
  label.hidden = !by_first;
  if (by_first) {
    const shown = (value) => figureAt(value, columns[0]);
    compared.at = fullest();
    at("compared-at").innerHTML = values().map((value) => `<option value="${value}">${text(shown(value))}</option>`).join("");
    at("compared-at").value = compared.at;
  }
  at("compared-note").textContent = words;
  buildSheet();
}

/// A round value: short, with the unit of its column.
const figureAt = (value, { unit, scale }) => `${Number((scale * value).toPrecision(3))}${unit}`;

/// Columns that are shown, with their places: the one that is chosen by is said above, and one that says nothing is left out.
function shownColumns(rows) {
  const { columns, by_first } = sheet();
  const all = columns.map((column, i) => ({ column, i }));
  return all.filter(({ i }) => !(by_first && i === 0) && rows.some((row) => row.cells[i] !== null));
}

const rowsOfSheet = () => sheet().rows.filter((row) => !sheet().by_first || row.cells[0] === compared.at);

function buildSheet() {
  const rows = rowsOfSheet(), columns = shownColumns(rows);
  const series = (name) => group().configurations.find((c) => c.name === name)?.series ?? null;
  const cell = (row) => ({ column, i }) => {
    const shown = row.bold.includes(i) ? `<strong>${cellText(row.cells[i], column)}</strong>` : cellText(row.cells[i], column);
    if (column.name === "series") return `<td class="pick"><span>${swatch(series(row.cells[i]))}${shown}</span></td>`;
    return `<td class="${column.word ? "" : "number"}">${shown}</td>`;
  };
  const head = columns.map(({ column }, i) => sortableHead(column.title, i, column.word)).join("");
  const body = rows.map((row, place) => `<tr data-place="${place}">${columns.map(cell(row)).join("")}</tr>`).join("");
  at("compared-table").innerHTML = `<thead><tr>${head}</tr></thead><tbody>${body}</tbody>`;
}

function startCompared() {
  at("compared").addEventListener("change", () => {
    compared.sheet = Number(at("compared").value);
    drawSheet();
  });
  at("compared-at").addEventListener("change", () => {
    compared.at = Number(at("compared-at").value);
    buildSheet();
  });
  at("compared-table").addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    if (!button) return;
    const rows = rowsOfSheet(), { column, i } = shownColumns(rows)[Number(button.dataset.column)];
    const key = (row) => {
      const cell = rows[Number(row.dataset.place)].cells[i];
      return Array.isArray(cell) ? cell[0] : cell;
    };
    sortRows(at("compared-table"), Number(button.dataset.column), key, { largestFirst: column.largest_first, word: column.word });
  });
  drawn(["group"], drawChoice);
}
