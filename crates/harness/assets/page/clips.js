// Clips of the selected runs beside the uncached one, all driven by one clock, and how far each frame is off.

const player = { playing: false, frame: 0, speed: 1, gain: null, fitting: 1, since: 0, count: 1, fps: 1, shown: [] };
const frames = new Map(); // strip, and what it adds to -> frames as ImageData

/// The frames of a strip, decoded once. A policy's strip holds what it adds to the uncached one, modulo 256.
async function framesOf(strip, clip, reference = null) {
  const key = `${strip}/${reference}`;
  if (!frames.has(key)) {
    const image = new Image();
    image.src = page.clips.strips[strip];
    await image.decode();
    const canvas = new OffscreenCanvas(clip.width, clip.height * clip.count);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const cut = Array.from({ length: clip.count }, (_, i) => context.getImageData(0, i * clip.height, clip.width, clip.height));
    if (reference !== null) {
      const uncached = await framesOf(reference, clip);
      cut.forEach(({ data }, t) => {
        for (let i = 0; i < data.length; i++) if (i % 4 < 3) data[i] = (data[i] + uncached[t].data[i]) & 255;
      });
    }
    frames.set(key, cut);
  }
  return frames.get(key);
}

/// The power of two at which the differences can be seen in most frames of most clips. One for all: they compare.
function fittingGain() {
  const [uncached, ...others] = player.shown.map((s) => s.frames);
  const VISIBLE = 40; // of 255, for the root mean square of the frame in the middle
  const rms = others.flatMap((frames) => frames.map((f, i) => 255 * 10 ** (-difference(f, uncached[i], 1).psnr_db / 20)));
  const typical = rms.sort((a, b) => a - b)[Math.floor(rms.length / 2)];
  return typical > 0 ? 2 ** Math.max(0, Math.min(8, Math.round(Math.log2(VISIBLE / typical)))) : 1;
}

/// The difference of two frames, each channel × gain, and their PSNR.
function difference(frame, reference, gain) {
  const out = new ImageData(frame.width, frame.height);
  let squares = 0;
  for (let i = 0; i < frame.data.length; i += 4) {
    for (let c = i; c < i + 3; c++) {
      const d = Math.abs(frame.data[c] - reference.data[c]);
      squares += d * d;
      out.data[c] = gain * d;
    }
    out.data[i + 3] = 255;
  }
  const mean = squares / (frame.width * frame.height * 3);
  return { image: out, psnr_db: mean === 0 ? Infinity : 10 * Math.log10(255 ** 2 / mean) };
}

const clipOfRun = (key) => page.clips.clips.find((clip) => clip.run === key);

/// What is selected and has a clip of the chosen prompt and seed.
function clipsShown() {
  return state.selected.map((place) => ({ place, run: runOf(place) }))
    .map((s) => ({ ...s, clip: s.run && clipOfRun(s.run.key) }))
    .filter((s) => s.clip && s.clip.reference !== null);
}

function figure(title, caption, blank) {
  const below = blank ? `<div class="blank">${blank}</div>` : `<canvas class="difference" role="img" aria-label="difference from the uncached clip"></canvas>`;
  return `<figure><canvas class="clip" role="img" aria-label="${text(title)}"></canvas>${below}<figcaption>${caption}</figcaption></figure>`;
}

let drawing = 0;

async function drawClips() {
  const mine = ++drawing;
  at("clips-section").hidden = !page.clips.clips.length;
  const shown = clipsShown();
  at("player").hidden = !shown.length;
  const uncached = shown.length && { clip: shown[0].clip, strip: shown[0].clip.reference };
  const decoded = await Promise.all([
    ...(uncached ? [framesOf(uncached.strip, uncached.clip)] : []),
    ...shown.map((s) => framesOf(s.clip.strip, s.clip, s.clip.reference)),
  ]);
  if (mine !== drawing) return; // the reader has chosen anew meanwhile
  const figures = shown.map((s) => {
    const c = configuration(s.place);
    const caption = `<strong>${text(c.name)}</strong> ${text(knobText(c))}<span class="figures">${runFigures(s.run)}</span><span class="figures now"></span>`;
    return figure(c.label, caption);
  });
  if (uncached) {
    const key = "Below each clip: its difference from this one, amplified.";
    figures.unshift(figure("uncached", `<strong>uncached</strong><span class="figures">frame for frame</span>`, key));
  }
  at("clips").innerHTML = figures.join("");
  player.shown = [...at("clips").children].map((node, i) => ({ node, frames: decoded[i] }));
  player.fitting = fittingGain();
  at("gain").options[0].textContent = `${player.fitting} (fits)`;
  player.count = uncached ? uncached.clip.count : 1;
  player.fps = uncached ? uncached.clip.fps : 1;
  player.frame = Math.min(player.frame, player.count - 1);
  at("frame").max = player.count - 1;
  for (const { node, frames } of player.shown) {
    for (const canvas of node.querySelectorAll("canvas")) [canvas.width, canvas.height] = [frames[0].width, frames[0].height];
  }
  const missing = state.selected.filter((place) => !shown.some((s) => s.place === place) && !configuration(place).off);
  const kept = [...new Set(page.clips.clips.map((clip) => group().runs.find((r) => r.key === clip.run)).filter(Boolean)
    .map((r) => `prompt ${r.prompt}, seed ${r.seed}`))];
  at("clips-note").textContent = [
    missing.length ? `No video was kept of ${missing.map((place) => configuration(place).label).join(", ")} on this clip.` : "",
    missing.length || !shown.length ? `Videos of some configurations were kept on ${kept.join("; ")}: they are marked in the clip’s name.` : "",
    page.clips.shrunk > 1 ? `Shown at 1/${page.clips.shrunk} of their size.` : "",
    "Keys: k plays and pauses, j and l go one frame back and on.",
  ].filter(Boolean).join(" ");
  drawFrame();
}

function drawFrame() {
  at("frame").value = player.frame;
  at("frame-number").textContent = `${player.frame + 1} / ${player.count}`;
  const reference = player.shown[0]?.frames[player.frame];
  for (const { node, frames } of player.shown) {
    node.querySelector(".clip").getContext("2d").putImageData(frames[player.frame], 0, 0);
    const below = node.querySelector(".difference");
    if (!below) continue;
    const { image, psnr_db } = difference(frames[player.frame], reference, player.gain ?? player.fitting);
    below.getContext("2d").putImageData(image, 0, 0);
    node.querySelector(".now").textContent = `this frame ${Number.isFinite(psnr_db) ? `${psnr_db.toFixed(1)} dB` : "identical"}`;
  }
}

function tick(now) {
  if (!player.playing) return;
  const frame_ms = 1000 / (player.fps * player.speed);
  const passed = Math.floor((now - player.since) / frame_ms);
  if (passed > 0) {
    player.since += passed * frame_ms;
    player.frame = (player.frame + passed) % player.count;
    drawFrame();
  }
  requestAnimationFrame(tick);
}

function play(playing) {
  player.playing = playing;
  at("play").textContent = playing ? "pause" : "play";
  player.since = performance.now();
  if (playing) requestAnimationFrame(tick);
}

function turn(by) {
  play(false);
  player.frame = (player.frame + by + player.count) % player.count;
  drawFrame();
}

function startClips() {
  at("play").addEventListener("click", () => play(!player.playing));
  at("back").addEventListener("click", () => turn(-1));
  at("forth").addEventListener("click", () => turn(1));
  at("frame").addEventListener("input", () => {
    play(false);
    player.frame = Number(at("frame").value);
    drawFrame();
  });
  at("speed").addEventListener("change", () => (player.speed = Number(at("speed").value)));
  at("gain").addEventListener("change", () => {
    player.gain = Number(at("gain").value) || null;
    drawFrame();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
    const act = { k: () => play(!player.playing), j: () => turn(-1), l: () => turn(1) }[event.key];
    if (act && player.shown.length) act();
  });
  drawn(["selected", "clip"], drawClips);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
