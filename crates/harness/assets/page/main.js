// Head, selection and provenance; puts the parts together.

/// The figures of one run, as against the means of its configuration.
function runFigures(run) {
  if (run.error) return "failed";
  const off = group().runs.find((r) => configuration(r.configuration).off && r.prompt === run.prompt && r.seed === run.seed && r.denoise_s);
  const q = page.qualities[0], value = q && run.quality[0];
  return [
    run.compute !== null ? `${percent(run.compute)} of the work` : "",
    off && run.denoise_s ? `${run.denoise_s.toFixed(2)} s, uncached ${off.denoise_s.toFixed(2)} s` : "",
    q && value !== null ? `${qualityOf(q)} ${value.toFixed(q.digits)}${q.unit ? ` ${q.unit}` : ""}` : "",
  ].filter(Boolean).join(" · ");
}

function drawHead() {
  const { name, sample, baseline, warnings } = group();
  at("title").textContent = page.title;
  const paragraphs = page.analysis.split(/\n\s*\n/).filter((p) => p.trim());
  at("analysis").innerHTML = paragraphs.map((p) => `<p>${prose(p)}</p>`).join("");
  if (page.groups.length > 1) {
    const options = page.groups.map((g, i) => `<option value="${i}" ${i === state.group ? "selected" : ""}>${text(g.name)}</option>`);
    at("setting").innerHTML = `<label>setting <select id="group">${options.join("")}</select></label> ${text(sample)}`;
    at("group").addEventListener("change", () => enter(Number(at("group").value)));
  } else {
    at("setting").textContent = `${name} · ${sample}`;
  }
  at("warnings").innerHTML = warnings.map((w) => `<p class="warning">${text(w)}</p>`).join("");
  at("baseline").innerHTML = prose(baseline);
}

function drawSelection() {
  at("chips").innerHTML = state.selected.map((place) => {
    const c = configuration(place);
    return `<span class="chip">${swatch(c.series)}${text(c.label)}<button type="button" data-place="${place}" aria-label="take ${text(c.label)} away">×</button></span>`;
  }).join("");
  const warnings = state.selected.flatMap((place) => configuration(place).warnings);
  at("selected-note").textContent = state.selected.length
    ? warnings.join(" ")
    : "Nothing is selected. Click a marker of the plot or a row of the table, or press Enter on it.";
}

function drawClipChoice() {
  const prompt = (run) => page.provenance.prompts[run.prompt];
  const clips = new Map();
  for (const run of group().runs) {
    const key = `${run.prompt}/${run.seed}`;
    const shown = clips.get(key) ?? { run, videos: 0 };
    if (clipOfRun(run.key)) shown.videos += 1;
    clips.set(key, shown);
  }
  at("clip").innerHTML = [...clips].map(([key, { run, videos }]) => {
    const words = prompt(run).length > 70 ? `${prompt(run).slice(0, 70)}…` : prompt(run);
    return `<option value="${key}">“${text(words)}”, seed ${run.seed}${videos ? ` · ${videos} videos` : ""}</option>`;
  }).join("");
  at("clip").value = `${state.clip.prompt}/${state.clip.seed}`;
}

function drawProvenance() {
  const { command, runs, facts, prompts, failures, experiment } = page.provenance;
  const list = (items) => items.map(([name, value]) => `<dt>${text(name)}</dt><dd>${text(value)}</dd>`).join("");
  const lost = failures.length
    ? `<h3>Failed runs</h3><dl>${list(failures)}</dl>` : "";
  at("provenance").innerHTML = `<p>Made from ${text(runs)} by <code>${text(command)}</code>; no model was run for it.</p>
    <dl>${list(facts.filter(([, value]) => value))}</dl>${lost}
    <details><summary>prompts</summary><dl>${list(prompts.map((p, i) => [i, p]))}</dl></details>
    <details><summary>experiment.toml</summary><pre>${text(experiment)}</pre></details>`;
}

/// Goes to a group and selects what is worth a first look there: MixCache, its strongest rival by name, a control.
function enter(place) {
  const { configurations, runs } = page.groups[place];
  const filmed = runs.find((r) => clipOfRun(r.key) && !configurations[r.configuration].off) ?? runs[0];
  state.group = place;
  state.clip = { prompt: filmed.prompt, seed: filmed.seed };
  const filmedOnes = new Set(runs.filter((r) => clipOfRun(r.key)).map((r) => r.configuration));
  const first = (wanted) => {
    const all = configurations.map((c, i) => ({ c, i })).filter(({ c }) => !c.off && c.runs && wanted(c));
    const shown = all.filter(({ i }) => filmedOnes.has(i));
    return (shown.length ? shown : all)[0]?.i;
  };
  const picks = [first((c) => c.mix), first((c) => c.policy === "tea"), first((c) => c.control)];
  const selected = [...new Set(picks.filter((i) => i !== undefined))];
  defineColours();
  const x = configurations.some((c) => c.speedup && !c.off) ? "speedup" : "compute";
  at("plot-x").value = x;
  choose({ group: place, x, selected, hidden: new Set(), hover: null, highlight: null, clip: state.clip, step: null });
}

function startTheme() {
  const themes = ["as the system", "light", "dark"];
  let theme = 0;
  const show = () => {
    document.documentElement.dataset.theme = themes[theme];
    at("theme").querySelector("span").textContent = themes[theme];
  };
  at("theme").addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    show();
  });
  show();
}

at("chips").addEventListener("click", (event) => {
  const place = event.target.closest("button")?.dataset.place;
  if (place !== undefined) toggle(Number(place));
});
at("clip").addEventListener("change", () => {
  const [prompt, seed] = at("clip").value.split("/").map(Number);
  choose({ clip: { prompt, seed } });
});
startTheme();
drawn(["group"], drawHead);
drawn(["group", "clip"], drawClipChoice);
drawn(["selected"], drawSelection);
startTable();
startPlot();
startCompared();
startClips();
startDecisions();
drawProvenance();
enter(0);
