// What a run measured, under its map and on the same steps.

const MOST_NAMED = 5; // measurements whose names fit beside the chart
const CHART = { height: 92, dashes: ["", "5 3", "1.5 3", "8 3 2 3"] };

/// Gains have another scale: they are told, not drawn.
const plotted = (decided) => decided.signals.filter((s) => s.change || s.decides);

/// The chart of a run's signals: its SVG and where it ends. `x` gives the pixel of a step's left edge.
function signalsOf(decided, x, right, top) {
  const bottom = top + CHART.height;
  const drawn = plotted(decided);
  const values = drawn.flatMap((s) => s.values);
  const threshold = drawn.some((s) => s.decides) ? decided.threshold : null;
  // A measurement far above all others would press the rest to the floor.
  const sorted = values.toSorted((a, b) => a - b);
  const high = Math.max(2 * (sorted[Math.floor(0.9 * (sorted.length - 1))] ?? 0), threshold ?? 0);
  const seen = [...values.filter((v) => v <= high || sorted.length < 4), ...(threshold === null ? [] : [threshold])];
  const near = Math.min(...seen) > 0.5 * Math.max(...seen);
  const y = axis(near ? seen : [0, ...seen], bottom, top);
  const parts = [`<path class="axis" d="M${MAP.left} ${top}V${bottom}H${right}"/>`];
  for (const tick of y.ticks.filter((_, i, all) => i % Math.ceil(all.length / 4) === 0)) {
    const p = y.pixel(tick);
    parts.push(`<path class="grid" d="M${MAP.left} ${p}H${right}"/><text x="${MAP.left - 8}" y="${p + 4}" text-anchor="end">${short(tick)}</text>`);
  }
  const labels = [];
  const names = [...new Set(drawn.map((s) => s.name))];
  const crowd = names.length > MOST_NAMED;
  drawn.forEach((signal) => {
    const kind = signal.decides ? "decides" : "";
    const place = (i) => [x(signal.steps[i] + 0.5).toFixed(1), y.pixel(signal.values[i]).toFixed(1)];
    const path = signal.steps.map((_, i) => `${i ? "L" : "M"}${place(i).join(" ")}`).join("");
    const dots = signal.steps.map((_, i) => `<circle class="dot ${kind}" cx="${place(i)[0]}" cy="${place(i)[1]}" r="${signal.decides ? 2.2 : 1.5}"/>`).join("");
    const style = `stroke-dasharray="${CHART.dashes[names.indexOf(signal.name) % CHART.dashes.length]}" opacity="${signal.branch ? 0.55 : 1}"`;
    parts.push(`<path class="signal ${kind}" ${style} d="${path}"/><g opacity="${signal.branch ? 0.55 : 1}">${dots}</g>`);
    // One name for both branches of a measurement, where its first branch ends.
    const name = crowd && !signal.decides ? `${names.length - 1} measurements` : signal.name;
    if (!labels.some((label) => label.name === name)) labels.push({ name, y: y.pixel(signal.values.at(-1)), kind });
  });
  if (threshold !== null) {
    const p = y.pixel(threshold);
    parts.push(`<path class="threshold" d="M${MAP.left} ${p}H${right}"/>`);
    labels.push({ name: `threshold ${short(threshold)}`, y: p, kind: "threshold-name" });
  }
  parts.push(...spread(labels, top, bottom).map((label) =>
    `<text class="${label.kind}" x="${right + 10}" y="${label.y + 4}">${text(label.name)}</text>`));
  return { svg: parts.join(""), bottom: bottom + 4 };
}

/// Moves names apart that would lie on one another.
function spread(labels, top, bottom) {
  const LINE = 14; // pixels
  const sorted = labels.toSorted((a, b) => a.y - b.y);
  let next = top;
  for (const label of sorted) {
    label.y = Math.max(next, Math.min(label.y, bottom));
    next = label.y + LINE;
  }
  const over = next - LINE - bottom;
  if (over > 0) for (const label of sorted) label.y -= over;
  return sorted;
}
