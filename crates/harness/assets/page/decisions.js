// What each selected run decided: steps along, blocks up, one map a guidance branch, one cursor for all.

const GRAINS = ["computed", "whole step reused", "taken from the other branch", "blocks reused", "module outputs reused"];
const MAP = { left: 74, right: 170, height: 66, between: 15, top: 12 }; // pixels
const NARROW = 640; // pixels, below which names have less room
/// How the recording names what was reused.
const KINDS = { delta: "a residual", raw: "module outputs", output: "the prediction", change: "the change from latent to prediction", state: "a hidden state" };

/// Strips of a pass: blocks from, to, grain, kind.
const stripsOf = (decided, step, branch) => {
  const pass = decided.passes[step * decided.branches.length + branch];
  return pass === null || pass === undefined ? [] : page.decisions.patterns[pass];
};

function drawDecisions() {
  const width = at("decisions").clientWidth;
  [MAP.left, MAP.right] = width < NARROW ? [34, 136] : [74, 170];
  const blocks = state.selected.map((place) => {
    const c = configuration(place), run = runOf(place), decided = run && page.decisions.runs[run.key];
    const head = `<h3>${swatch(c.series)}${text(c.label)} <small>${run ? runFigures(run) : ""}</small></h3>`;
    const why = run?.error ? `failed: ${text(run.error)}` : "no decision was recorded on this clip";
    if (!decided) return `<div class="decided">${head}<p class="note">${why}</p></div>`;
    return `<div class="decided" data-run="${run.key}">${head}${picture(decided, width)}` +
      `${decided.note ? `<p class="note">${text(decided.note)}</p>` : ""}<p class="readout" aria-live="polite"></p></div>`;
  });
  at("decisions").innerHTML = blocks.join("") || `<p class="note">Nothing is selected.</p>`;
  const used = new Set(state.selected.flatMap((place) => {
    const decided = page.decisions.runs[runOf(place)?.key];
    return decided ? decided.passes.flatMap((p) => (p === null ? [] : page.decisions.patterns[p].map((strip) => strip[2]))) : [];
  }));
  at("grains").innerHTML = GRAINS.map((name, i) => (used.has(i) ? `<span><i class="g${i}"></i>${name}</span>` : "")).join("");
  drawCursor();
}

function picture(decided, width) {
  const { steps, branches } = decided;
  const right = width - MAP.right, cell = (right - MAP.left) / steps;
  const x = (step) => MAP.left + step * cell;
  const parts = [];
  let top = MAP.top;
  branches.forEach((name, branch) => {
    parts.push(mapOf(decided, branch, top, x));
    const words = name.replace(" branch", "");
    parts.push(`<text x="${right + 10}" y="${top + MAP.height / 2 + 4}">${words}</text>`);
    top += MAP.height + MAP.between;
  });
  top -= MAP.between;
  const every = [1, 2, 5, 10, 20, 50].find((n) => (steps / n) * 34 < right - MAP.left) ?? 100;
  for (let step = 0; step < steps; step += every) {
    parts.push(`<text x="${x(step + 0.5)}" y="${top + 15}" text-anchor="middle">${step}</text>`);
  }
  parts.push(`<text x="${right + 10}" y="${top + 15}">step</text>`);
  let bottom = top + 22;
  if (plotted(decided).length) {
    const chart = signalsOf(decided, x, right, bottom + 8);
    parts.push(chart.svg);
    bottom = chart.bottom;
  }
  parts.push(`<path class="cursor" d="" data-cell="${cell}" data-bottom="${bottom}"/>`);
  return `<svg width="${width}" height="${bottom + 6}" viewBox="0 0 ${width} ${bottom + 6}" tabindex="0" role="application" ` +
    `aria-label="decisions over ${steps} steps; arrow keys move along">${parts.join("")}</svg>`;
}

function mapOf(decided, branch, top, x) {
  const { steps, blocks, full } = decided;
  const y = (block) => top + MAP.height * (1 - block / blocks);
  const paths = GRAINS.map(() => "");
  const parts = [];
  for (let step = 0; step < steps; step++) {
    for (const [from, to, grain] of stripsOf(decided, step, branch)) {
      paths[grain] += `M${x(step).toFixed(2)} ${y(to).toFixed(2)}H${x(step + 1).toFixed(2)}V${y(from).toFixed(2)}H${x(step).toFixed(2)}z`;
    }
    if (step < full[0] || step >= steps - full[1]) {
      parts.push(`<path class="full" d="M${x(step) + 1} ${top - 5}H${x(step + 1) - 1}v2.5H${x(step) + 1}z"/>`);
    }
  }
  paths.forEach((d, grain) => d && parts.push(`<path class="g${grain}" d="${d}"/>`));
  const gaps = Array.from({ length: steps - 1 }, (_, i) => `M${x(i + 1).toFixed(2)} ${top}v${MAP.height}`).join("");
  parts.push(`<path class="gap" d="${gaps}"/>`);
  parts.push(`<text x="${MAP.left - 8}" y="${top + 9}" text-anchor="end">${blocks - 1}</text>`);
  parts.push(`<text x="${MAP.left - 8}" y="${top + MAP.height}" text-anchor="end">0</text>`);
  if (MAP.left > 60) parts.push(`<text x="${MAP.left - 24}" y="${top + MAP.height / 2 + 4}" text-anchor="end">block</text>`);
  return parts.join("");
}

/// What a run did in one step, in words.
function told(decided, step) {
  const passes = decided.branches.map((name, branch) => {
    const strips = stripsOf(decided, step, branch);
    if (!strips.length) return null;
    const merged = [];
    for (const [from, to, grain, kind] of strips.toSorted((a, b) => a[0] - b[0])) {
      const what = grain ? KINDS[page.decisions.kinds[kind]] ?? page.decisions.kinds[kind] : "computed";
      const last = merged.at(-1);
      if (last?.what === what) last.to = to;
      else merged.push({ from, to, what, grain });
    }
    const all = merged.length === 1 && merged[0].to - merged[0].from === decided.blocks;
    const LONGEST = 5; // spans that still can be read in a line
    const spans = merged.length > LONGEST
      ? `${merged.filter((m) => m.grain).length} of ${merged.length} spans reused`
      : merged.map((m) => `${all ? "" : `blocks ${short(m.from)}–${short(m.to)} `}${m.grain ? `reuse of ${m.what}` : m.what}`).join(", ");
    return `${name.replace(" branch", "")}: ${spans}`;
  }).filter(Boolean);
  const seen = decided.signals.flatMap((s) => {
    const i = s.steps.indexOf(step);
    return i < 0 ? [] : [`${s.name}${decided.branches.length > 1 ? ` (${decided.branches[s.branch].slice(0, 1)})` : ""} ${short(s.values[i])}`];
  });
  return `step ${step} · ${[...passes, ...seen].join(" · ")}`;
}

function drawCursor() {
  for (const node of at("decisions").querySelectorAll("[data-run]")) {
    const decided = page.decisions.runs[node.dataset.run], cursor = node.querySelector(".cursor");
    const inside = state.step !== null && state.step < decided.steps;
    const x = MAP.left + (state.step + 0.5) * Number(cursor.dataset.cell);
    cursor.setAttribute("d", inside ? `M${x} ${MAP.top - 8}V${cursor.dataset.bottom}` : "");
    node.querySelector(".readout").textContent = inside ? told(decided, state.step) : "";
  }
}

function startDecisions() {
  const root = at("decisions");
  const under = (event) => event.target.closest("[data-run]");
  root.addEventListener("pointermove", (event) => {
    const node = under(event), svg = event.target.closest("svg[tabindex]");
    if (!node || !svg) return;
    const { steps } = page.decisions.runs[node.dataset.run];
    const cell = Number(node.querySelector(".cursor").dataset.cell);
    const step = Math.floor((event.clientX - svg.getBoundingClientRect().left - MAP.left) / cell);
    choose({ step: step >= 0 && step < steps ? step : null });
  });
  root.addEventListener("pointerleave", () => choose({ step: null }));
  root.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || !under(event)) return;
    event.preventDefault();
    const { steps } = page.decisions.runs[under(event).dataset.run];
    choose({ step: Math.min(steps - 1, Math.max(0, (state.step ?? (move > 0 ? -1 : steps)) + move)) });
  });
  drawn(["selected", "clip"], drawDecisions);
  drawn(["step"], drawCursor);
  onWidth(root, drawDecisions);
}
