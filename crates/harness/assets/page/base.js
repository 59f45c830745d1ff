"use strict";
// What all parts share: the recording, what the reader has chosen, and how numbers are written.

const page = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);

/// What the reader has chosen. Changed by `choose` alone.
const state = {
  group: 0,
  selected: [], // places of configurations, in the order they were chosen
  hover: null, // a configuration
  highlight: null, // a series
  hidden: new Set(), // series
  filter: "",
  controls: true,
  intervals: true,
  x: "speedup",
  y: 0, // place of a quality
  allColumns: false,
  clip: null, // { prompt, seed }
  step: null, // of all decision maps
};

const drawers = [];

/// Calls `draw` now and whenever one of the `keys` of the state changes.
function drawn(keys, draw) {
  drawers.push({ keys, draw });
}

function choose(change) {
  Object.assign(state, change);
  const keys = Object.keys(change);
  for (const drawer of drawers) {
    if (drawer.keys.some((key) => keys.includes(key))) drawer.draw();
  }
}

/// Calls `draw` whenever the width of `node` changes. Its height may follow from what is drawn.
function onWidth(node, draw) {
  let width = node.clientWidth;
  new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    draw();
  }).observe(node);
}

const group = () => page.groups[state.group];
const configuration = (place) => group().configurations[place];

/// The configuration whose marker has the keyboard: it counts while the pointer is at none.
function focused() {
  const node = document.activeElement.closest(".point");
  return node ? Number(node.dataset.place) : null;
}

const MOST_SELECTED = 8;

function toggle(place) {
  if (state.selected.includes(place)) {
    choose({ selected: state.selected.filter((other) => other !== place) });
  } else if (state.selected.length < MOST_SELECTED) {
    choose({ selected: [...state.selected, place] });
  } else {
    at("selected-note").textContent = `${MOST_SELECTED} are selected: take one away first.`;
    choose({ selected: state.selected });
  }
}

/// Whether a configuration passes the filter: every word occurs in its label.
function passes(c) {
  if (c.control && !c.off && !state.controls) return false;
  const text = `${c.policy} ${c.label}`.toLowerCase();
  return state.filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/// The run of a configuration on the chosen clip; its first repeat, which is the one whose decisions are kept.
function runOf(place) {
  const of = (r) => r.configuration === place && r.prompt === state.clip.prompt && r.seed === state.clip.seed;
  return group().runs.find((r) => of(r) && r.repeat === 0);
}

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const text = (value) => String(value).replace(/[&<>"]/g, (c) => escapes[c]);

/// Prose of the experiment, with its `code`.
const prose = (value) => text(value).replace(/`([^`]*)`/g, "<code>$1</code>");

/// Three significant digits at most, as the figures of report.md write them.
function short(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, Math.min(8, 2 - Math.floor(Math.log10(Math.abs(value)))));
  const fixed = value.toFixed(digits);
  return fixed.includes(".") ? fixed.replace(/0+$/, "").replace(/\.$/, "") : fixed;
}

function interval(triple, digits, unit = "") {
  if (!triple) return "–";
  const [value, low, high] = triple;
  const half = low === null ? "" : ` <small>± ${((high - low) / 2).toFixed(digits)}</small>`;
  return `${value.toFixed(digits)}${unit}${half}`;
}

/// A quality, which may be that of a run that equals the uncached one.
function quality(c, i) {
  const q = page.qualities[i];
  return middle(c.quality[i]) === q.identical ? "identical" : interval(c.quality[i], q.digits);
}

const middle = (triple) => (triple ? triple[0] : null);
const plain = (value) => (value === null ? "–" : short(value));
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(0)} %`);
const mebibytes = (bytes) => (bytes === null ? "–" : (bytes / 2 ** 20).toFixed(1));
const knobText = (c) => (c.knob ? `${c.knob[0].replaceAll("_", " ")} ${short(c.knob[1])}` : "");
const qualityOf = (q) => q.name + (q.of_frames && page.through ? ` (${page.through})` : "");
const qualityName = (q) => qualityOf(q) + (q.unit ? ` ${q.unit}` : "");

/// Marker shapes of the printed plots: circle, square, triangle, diamond, triangle on its tip.
function glyph(marker, r) {
  switch (marker) {
    case 0: return `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
    case 1: return `M${1 - r} ${1 - r}h${2 * r - 2}v${2 * r - 2}h${2 - 2 * r}z`;
    case 2: return `M${-r} ${r - 1}h${2 * r}L0 ${-r}z`;
    case 3: return `M${-r - 1} 0L0 ${-r - 1}L${r + 1} 0L0 ${r + 1}z`;
    default: return `M${-r} ${1 - r}h${2 * r}L0 ${r}z`;
  }
}

const seriesColour = (place) => (place === null ? "var(--soft)" : `var(--s${place})`);
const seriesMarker = (place) => (place === null ? 0 : group().series[place].marker);

/// A marker to stand in a line of text.
function swatch(place) {
  return `<svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true" style="flex:none">` +
    `<path d="${glyph(seriesMarker(place), 5)}" fill="${seriesColour(place)}"/></svg>`;
}

/// The colours of the printed plots; on a dark page each is lightened until it can be seen.
function defineColours() {
  const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const luminance = (rgb) => rgb
    .map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const LEAST = 0.24; // relative luminance: a contrast of 5 on the dark paper
  const INVERTED = 40; // black becomes white: lightened it would be one of the controls' greys
  group().series.forEach((series, i) => {
    let rgb = channels(series.colour);
    if (Math.max(...rgb) < INVERTED) rgb = rgb.map((c) => 245 - c);
    while (luminance(rgb) < LEAST) rgb = rgb.map((c) => c + (255 - c) * 0.1);
    const lightened = `rgb(${rgb.map(Math.round).join(" ")})`;
    document.documentElement.style.setProperty(`--s${i}`, `light-dark(${series.colour}, ${lightened})`);
  });
}

/// Values to pixels; ticks at numbers a person would choose.
function axis(values, from, to, log = false) {
  const scale = log ? Math.log10 : (x) => x;
  const finite = values.filter((x) => x !== null && (!log || x > 0)).map(scale);
  let low = Math.min(...finite), high = Math.max(...finite);
  if (!finite.length) [low, high] = [0, 1];
  const TICKS = 8; // about as many
  const margin = Math.max(0.07 * (high - low), log ? 0.05 : 1e-3 * Math.max(Math.abs(high), 1e-3));
  low -= margin;
  high += margin;
  const ticks = [];
  if (log) {
    const factors = high - low > 3 ? [1] : high - low > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
    for (let decade = Math.floor(low); decade <= high; decade++) {
      for (const factor of factors) ticks.push(factor * 10 ** decade);
    }
  } else {
    const rough = (high - low) / TICKS, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
  }
  const share = (value) => ((log && value <= 0 ? low : scale(value)) - low) / (high - low);
  return {
    pixel: (value) => from + Math.min(1, Math.max(0, share(value))) * (to - from),
    ticks: ticks.filter((tick) => scale(tick) >= low && scale(tick) <= high),
  };
}

/// Sorts a table by a column, whose header has a button; asked again, the other way round. `key` is what a row sorts by.
function sortRows(table, column, key, { largestFirst, word }) {
  const heads = table.querySelectorAll("th[scope]");
  const now = heads[column].getAttribute("aria-sort");
  const descending = now ? now === "ascending" : Boolean(largestFirst);
  const sign = descending ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    // What is not known comes last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null) || a.dataset.place - b.dataset.place;
    const order = word && typeof x === "string" ? x.localeCompare(y, "en") : x - y;
    return sign * order || a.dataset.place - b.dataset.place;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  heads.forEach((th, i) => {
    if (i === column) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  });
}

/// The header cell of a column that can be sorted by.
const sortableHead = (name, column, word) =>
  `<th scope="col" class="${word ? "" : "number"}"><button type="button" data-column="${column}">${text(name)}</button></th>`;
