// Quality against speed-up. Point at a marker for its figures, click it or press Enter to select it.

const HORIZONTAL = {
  speedup: { name: "speed-up", value: (c) => middle(c.speedup), ends: (c) => c.speedup, unit: "×" },
  compute: { name: "share of the transformer’s work done", value: (c) => c.compute },
  cache: { name: "cache held at the peak, MiB", value: (c) => c.cache_peak_bytes === null ? null : c.cache_peak_bytes / 2 ** 20 },
  looks: { name: "looks a run", value: (c) => c.looks },
};

/// The vertical axis; without a quality, the work that was done.
function vertical() {
  const q = page.qualities[state.y];
  if (!q) return { name: "share of the transformer’s work done", ends: (c) => [c.compute, null, null], log: false, identical: null };
  const better = q.higher_is_closer ? "higher" : "lower";
  return { name: `${qualityName(q)} (${better} is closer)`, ends: (c) => c.quality[state.y], log: q.log, identical: q.identical, upper: q.higher_is_closer };
}

/// Configurations with a place in the plot, and where: a run that equals the uncached one lies on the frame.
function placed(frame) {
  const h = HORIZONTAL[state.x], v = vertical();
  const shown = group().configurations
    .map((c, place) => ({ c, place, value: v.ends(c), across: h.value(c) }))
    .filter((p) => !p.c.off && passes(p.c) && p.across !== null && middle(p.value) !== null && !state.hidden.has(p.c.series));
  const onScale = (p) => p.value[0] !== v.identical;
  const x = axis([...shown.map((p) => p.across), ...(state.x === "speedup" ? [1] : [])], frame.left, frame.right);
  const heights = shown.filter(onScale).flatMap((p) => (state.intervals ? p.value : [p.value[0]])).filter((n) => n !== v.identical);
  const y = axis(heights, frame.bottom, frame.top, v.log);
  const edge = v.upper ? frame.top : frame.bottom;
  for (const p of shown) {
    p.x = x.pixel(p.across);
    p.y = onScale(p) ? y.pixel(p.value[0]) : edge;
  }
  return { shown, x, y, h, v };
}

const view = { points: [], frame: null };

function drawPlot() {
  const width = at("plot").clientWidth, height = Math.round(Math.min(520, Math.max(340, width * 0.48)));
  const frame = { left: 62, right: width - 14, top: 14, bottom: height - 48 };
  const { shown, x, y, h, v } = placed(frame);
  Object.assign(view, { points: shown, frame });
  const parts = [];
  for (const tick of y.ticks) {
    const p = y.pixel(tick);
    parts.push(`<path class="grid" d="M${frame.left} ${p}H${frame.right}"/><text x="${frame.left - 8}" y="${p + 4}" text-anchor="end">${short(tick)}</text>`);
  }
  for (const tick of x.ticks) {
    const p = x.pixel(tick);
    parts.push(`<path class="grid" d="M${p} ${frame.top}V${frame.bottom}"/><text x="${p}" y="${frame.bottom + 18}" text-anchor="middle">${short(tick)}${h.unit ?? ""}</text>`);
  }
  parts.push(`<path class="axis" d="M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}"/>`);
  if (state.x === "speedup") {
    const one = x.pixel(1);
    parts.push(`<path class="axis" stroke-dasharray="4 4" d="M${one} ${frame.top}V${frame.bottom}"/><text x="${one + 6}" y="${frame.bottom - 8}">uncached</text>`);
  }
  parts.push(`<text class="title" x="${(frame.left + frame.right) / 2}" y="${height - 6}" text-anchor="middle">${h.name}</text>`);
  parts.push(`<text class="title" transform="translate(14 ${(frame.top + frame.bottom) / 2}) rotate(-90)" text-anchor="middle">${v.name}</text>`);
  group().series.forEach((series, i) => parts.push(curve(series, i, shown.filter((p) => p.c.series === i), y, x)));
  const order = shown.toSorted((a, b) => a.x - b.x);
  parts.push(`<g role="group" aria-label="configurations from left to right">${order.map((p, i) => point(p, i)).join("")}</g>`);
  at("plot").querySelector("svg")?.remove();
  at("plot").insertAdjacentHTML("afterbegin",
    `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="group" aria-label="${text(v.name)} against ${h.name}">${parts.join("")}</svg>`);
  const identical = shown.some((p) => p.value[0] === v.identical);
  at("plot-note").textContent = (shown.length ? "Numbers beside markers: the swept knob of what is selected or pointed at. Grey, dashed: controls." : "Nothing to show here.") +
    (identical ? " On the frame: identical to the uncached run." : "");
  emphasise();
}

function curve(series, place, points, y, x) {
  const colour = seriesColour(place);
  const path = points.map((p, i) => `${i ? "L" : "M"}${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join("");
  const whiskers = !state.intervals ? "" : points.map((p) => {
    const [, low, high] = p.value;
    const up = low === null ? "" : `M${p.x} ${y.pixel(low)}V${y.pixel(high)}`;
    const across = state.x === "speedup" && p.c.speedup[1] !== null
      ? `M${x.pixel(p.c.speedup[1])} ${p.y}H${x.pixel(p.c.speedup[2])}` : "";
    return up + across;
  }).join("");
  return `<g data-series="${place}"><path class="whisker" stroke="${colour}" d="${whiskers}"/>` +
    `<path class="curve" stroke="${colour}" stroke-width="${series.width * 0.62}" ${series.dashed ? 'stroke-dasharray="7 5"' : ""} d="${path}"/></g>`;
}

function point(p, order) {
  const heavy = p.c.mix && group().series[p.c.series]?.width > 3;
  const r = heavy ? 7 : 5;
  const d = glyph(seriesMarker(p.c.series), r);
  return `<g class="point" data-place="${p.place}" data-series="${p.c.series}" transform="translate(${p.x.toFixed(1)} ${p.y.toFixed(1)})" ` +
    `tabindex="${order ? -1 : 0}" role="button" aria-label="${text(p.c.label)}">` +
    `<circle class="halo" r="${r + 5}"/><path d="${d}" fill="${seriesColour(p.c.series)}"/>` +
    `<text class="knob" y="${-r - 6}" text-anchor="middle" hidden>${p.c.knob ? short(p.c.knob[1]) : ""}</text></g>`;
}

/// What is selected or pointed at stands out; nothing is laid out anew.
function emphasise() {
  const pointed = state.hover === null ? null : configuration(state.hover).series;
  const focus = state.highlight ?? pointed;
  const chosen = new Set(state.selected.map((place) => configuration(place).series));
  for (const node of at("plot").querySelectorAll("[data-series]")) {
    const series = node.dataset.series === "null" ? null : Number(node.dataset.series);
    node.classList.toggle("faded", focus !== null && series !== focus);
    node.classList.toggle("near", series !== null && (series === focus || (focus === null && chosen.has(series))));
    if (!node.classList.contains("point")) continue;
    const place = Number(node.dataset.place);
    node.classList.toggle("hover", place === state.hover);
    node.classList.toggle("selected", state.selected.includes(place));
    node.setAttribute("aria-pressed", state.selected.includes(place));
    node.querySelector(".knob").toggleAttribute("hidden", !node.classList.contains("near"));
  }
  drawTip();
}

function drawTip() {
  const tip = at("tip"), p = view.points.find((p) => p.place === state.hover);
  tip.hidden = !p;
  if (!p) return;
  const c = p.c;
  const rows = [
    ["speed-up", interval(c.speedup, 2, "×")],
    ["compute", percent(c.compute)],
    ...page.qualities.map((q, i) => [qualityName(q), quality(c, i)]),
    ["cache held", `${mebibytes(c.cache_peak_bytes)} MiB`],
    ["looks", plain(c.looks)],
  ];
  tip.innerHTML = `<strong>${text(c.name)}</strong><br>${text(knobText(c))}<table>${rows
    .filter(([, value]) => value !== "–").map(([name, value]) => `<tr><td>${text(name)}</td><td>${value}</td></tr>`).join("")}</table>`;
  const left = p.x + 16 + tip.offsetWidth > view.frame.right ? p.x - 16 - tip.offsetWidth : p.x + 16;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, p.y - tip.offsetHeight / 2)}px`;
}

function drawLegend() {
  at("legend").innerHTML = group().series.map((series, i) => ({ series, i })).reverse().map(({ series, i }) =>
    `<li><button type="button" data-series="${i}" aria-pressed="${!state.hidden.has(i)}">${swatch(i)}${text(series.name)}</button></li>`).join("");
}

function startPlot() {
  at("plot-y").innerHTML = page.qualities.map((q, i) => `<option value="${i}">${text(qualityName(q))}</option>`).join("");
  at("plot-y").closest("label").hidden = !page.qualities.length;
  at("plot-x").innerHTML = Object.entries(HORIZONTAL).map(([key, h]) => `<option value="${key}">${h.name}</option>`).join("");
  at("plot-y").addEventListener("change", () => choose({ y: Number(at("plot-y").value) }));
  at("plot-x").addEventListener("change", () => choose({ x: at("plot-x").value }));
  at("plot-intervals").addEventListener("change", () => choose({ intervals: at("plot-intervals").checked }));
  at("plot-controls").addEventListener("change", () => choose({ controls: at("plot-controls").checked }));

  const plot = at("plot"), REACH = 22; // pixels
  const nearest = (event) => {
    const box = plot.getBoundingClientRect();
    const distance = (p) => Math.hypot(p.x - (event.clientX - box.left), p.y - (event.clientY - box.top));
    const best = view.points.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
    return best && distance(best) < REACH ? best.place : null;
  };
  plot.addEventListener("pointermove", (event) => {
    const place = nearest(event) ?? focused();
    if (place !== state.hover) choose({ hover: place });
  });
  plot.addEventListener("pointerleave", () => choose({ hover: focused() }));
  plot.addEventListener("click", (event) => {
    const place = nearest(event);
    if (place !== null) toggle(place);
  });
  plot.addEventListener("focusin", (event) => {
    const node = event.target.closest(".point");
    if (node) choose({ hover: Number(node.dataset.place) });
  });
  plot.addEventListener("focusout", () => choose({ hover: null }));
  plot.addEventListener("keydown", (event) => {
    const node = event.target.closest(".point");
    if (!node) return;
    const move = { ArrowRight: "nextElementSibling", ArrowUp: "nextElementSibling", ArrowLeft: "previousElementSibling", ArrowDown: "previousElementSibling" }[event.key];
    if (move && node[move]) {
      node.tabIndex = -1;
      node[move].tabIndex = 0;
      node[move].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      toggle(Number(node.dataset.place));
    } else if (!move) {
      return;
    }
    event.preventDefault();
  });

  const legend = at("legend");
  const series = (event) => event.target.closest("button")?.dataset.series;
  legend.addEventListener("click", (event) => {
    if (series(event) === undefined) return;
    const i = Number(series(event)), hidden = new Set(state.hidden);
    if (!hidden.delete(i)) hidden.add(i);
    choose({ hidden, highlight: null });
    legend.querySelector(`[data-series="${i}"]`).focus();
  });
  legend.addEventListener("mouseover", (event) => choose({ highlight: series(event) === undefined ? null : Number(series(event)) }));
  legend.addEventListener("mouseleave", () => choose({ highlight: null }));

  onWidth(plot, drawPlot);
  drawn(["group", "hidden"], drawLegend);
  drawn(["group", "filter", "controls", "intervals", "x", "y", "hidden"], drawPlot);
  drawn(["hover", "highlight", "selected"], emphasise);
}
