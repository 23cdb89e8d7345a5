// The page: recorded toy trainings with a slider for time, and one that trains here.
// All positions are shares of the view, 0 .. 1 from its low to its high end.

import { Gan } from './gan1d.mjs';

const $ = (id) => document.getElementById(id);
const RECORDED = [
  { key: 'toy25', name: 'Learns all 25', story: 'The data are 25 bumps on a grid. The generator folds its plane of latents over them, and the penalties R1 and R2 keep the discriminator smooth enough to show it the way to each.' },
  { key: 'toy25-classic', name: 'Collapses', story: 'The same data and networks with DCGAN\'s loss and no penalty. The discriminator gets ahead, and the generator covers a few bumps over and over: mode collapse.' },
  { key: 'toy1d', name: 'One dimension', story: 'The data are numbers around 4. The line is the discriminator, drawn over its own range: it leans towards where it misses the data, and the generator follows. At the end it ranks pairs no better than chance.' },
];
const LIVE = { key: 'live', name: 'Train one here', story: 'Two small networks, trained by this page. Take the penalty away, or raise the learning rate, and see what happens.' };
const NAMES = { modes: 'bumps kept, of 25', on_a_mode: 'points on a bump', mean: 'mean, of 4', sd: 'deviation, of 1.25', acc_pair: 'pairs D ranks rightly', loss_G: 'loss of G', loss_D: 'loss of D' };
const SCORES = ['modes', 'on_a_mode', 'mean', 'sd', 'acc_pair'], LOSSES = ['loss_G', 'loss_D'];
const CHARTS = [['modes'], ['on_a_mode'], ['mean', 'sd'], LOSSES];
const LIVE_VIEW = { low: -3, high: 11, dimensions: 1 }, LIVE_POINTS = 400, FRAME_MS = 12, MAX_TICKS = 400;

const embedded = JSON.parse($('recordings')?.textContent ?? 'null');
const trainings = embedded ? [{ key: 'own', name: embedded.title, story: '', recording: embedded }] : [...RECORDED, LIVE];
let current = null, ticks = [], at = 0, player = 0, gan = null, running = 0;

// --- reading

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const shares = (text) => Float32Array.from(bytes(text), (byte) => byte / 255);
const decode = ({ kimg, points, discriminator, manifold, values }) =>
  ({ kimg, values, points: shares(points), judge: shares(discriminator), manifold: shares(manifold) });

async function load(training) {
  if (!training.recording && training !== LIVE) {
    const answer = await fetch(new URL(`${training.key}.json`, import.meta.url)).catch(() => null);
    if (!answer?.ok) throw new Error('The recording could not be loaded.');
    training.recording = await answer.json();
  }
  return training.recording;
}

async function choose(training, kimg = 0) {
  stop();
  const recording = await load(training).catch((error) => { $('trouble').textContent = error.message; });
  $('trouble').hidden = !!recording || training === LIVE;
  if (!$('trouble').hidden) return;
  current = training;
  for (const button of $('choice').children) button.setAttribute('aria-pressed', String(button.dataset.key === training.key));
  const isLive = training === LIVE;
  $('live').hidden = !isLive;
  $('time').hidden = isLive;
  $('title').textContent = isLive ? training.name : recording.title;
  $('story').textContent = training.story;
  $('hint').hidden = isLive;
  current.view = isLive ? LIVE_VIEW : recording.view;
  current.real = isLive ? null : shares(recording.real);
  $('manifold-row').hidden = isLive || !recording.ticks[0]?.manifold;
  $('judge-name').textContent = current.view.dimensions === 2 ? 'discriminator: stronger is more like data' : 'discriminator: higher is more like data';
  if (isLive) return beginLive();
  ticks = recording.ticks.map(decode);
  $('tick').max = ticks.length - 1;
  const first = ticks.findIndex((tick) => tick.kimg >= kimg);
  show(first < 0 ? ticks.length - 1 : first);
}

// --- showing one tick

function show(index) {
  at = Math.min(Math.max(index, 0), ticks.length - 1);
  const tick = ticks[at];
  $('tick').value = at;
  $('kimg').textContent = `${tick.kimg.toFixed(0)}k samples`;
  $('tick').setAttribute('aria-valuetext', $('kimg').textContent);
  if (!embedded) history.replaceState(null, '', `#${current.key}/${tick.kimg.toFixed(0)}`);
  draw(tick);
  showValues(tick.values);
  showCharts();
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;
const FORMATS = { modes: String, on_a_mode: percent, acc_pair: percent };

function showValues(values) {
  const shown = [...SCORES, ...(current === LIVE ? LOSSES : [])].filter((name) => Number.isFinite(values[name]));
  $('values').replaceChildren(...shown.map((name) => {
    const box = document.createElement('div'), term = document.createElement('dt'), value = document.createElement('dd');
    term.textContent = NAMES[name];
    value.textContent = (FORMATS[name] ?? ((number) => number.toFixed(2)))(values[name]);
    box.append(term, value);
    return box;
  }));
  const words = shown.map((name, index) => `${NAMES[name]}: ${$('values').children[index].lastChild.textContent}`);
  $('plot').setAttribute('aria-label', `${current.name}. ${words.join(', ')}`);
}

const svg = (name, attributes) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

function showCharts() {
  const last = ticks.at(-1)?.kimg || 1;
  $('charts').replaceChildren(...CHARTS.flatMap((names) => {
    const drawn = names.filter((name) => ticks.some((tick) => Number.isFinite(tick.values[name])));
    if (!drawn.length || ticks.length < 2) return [];
    const all = drawn.flatMap((name) => ticks.map((tick) => tick.values[name])).filter(Number.isFinite);
    const low = Math.min(0, ...all), high = Math.max(...all) || 1;
    const picture = svg('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    const figure = document.createElement('figure'), caption = document.createElement('figcaption');
    drawn.forEach((name, k) => {
      const kept = ticks.filter((tick) => Number.isFinite(tick.values[name]));
      const points = kept.map((tick) => `${100 * tick.kimg / last},${100 - 100 * (tick.values[name] - low) / (high - low)}`);
      picture.append(svg('polyline', { points: points.join(' '), class: k ? 'second' : 'first' }));
      const label = document.createElement('span');
      label.className = k ? 'second' : 'first';
      label.textContent = `${NAMES[name]} (${low.toFixed(0)} to ${Number(high.toFixed(1))})`;
      caption.append(label);
    });
    const x = 100 * ticks[at].kimg / last;
    picture.append(svg('line', { x1: x, x2: x, y1: 0, y2: 100 }));
    figure.append(caption, picture);
    return [figure];
  }));
}

// --- drawing

function draw(tick) {
  const canvas = $('plot'), paint = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const side = canvas.width;
  paint.clearRect(0, 0, side, side);
  const look = { paint, side, ink: colour('--ink'), made: colour('--made'), accent: colour('--accent'), tint: colour('--tint').split(/\s+/).map(Number) };
  (current.view.dimensions === 2 ? drawPlane : drawLine)(look, tick);
}

function drawPlane({ paint, side, ink, made, tint }, { points, judge, manifold }) {
  if ($('show-judge').checked) {
    const cells = Math.round(Math.sqrt(judge.length)), image = new ImageData(cells, cells);
    judge.forEach((value, cell) => {
      const row = cells - 1 - Math.floor(cell / cells), place = 4 * (row * cells + cell % cells);
      image.data.set([...tint, 20 + 145 * value], place);
    });
    const small = new OffscreenCanvas(cells, cells);
    small.getContext('2d').putImageData(image, 0, 0);
    paint.drawImage(small, 0, 0, side, side);
  }
  const place = (list, k) => [list[2 * k] * side, (1 - list[2 * k + 1]) * side];
  if ($('show-manifold').checked && manifold.length) {
    const cells = Math.round(Math.sqrt(manifold.length / 2));
    paint.strokeStyle = made;
    paint.lineWidth = 1.5;
    paint.beginPath();
    for (let row = 0; row < cells; row++) {
      for (let column = 0; column < cells; column++) {
        const here = place(manifold, row * cells + column);
        if (column) { paint.moveTo(...place(manifold, row * cells + column - 1)); paint.lineTo(...here); }
        if (row) { paint.moveTo(...place(manifold, (row - 1) * cells + column)); paint.lineTo(...here); }
      }
    }
    paint.stroke();
  }
  const dots = (list, draw) => { for (let k = 0; k < list.length / 2; k++) { paint.beginPath(); paint.arc(...place(list, k), 5, 0, 2 * Math.PI); draw(); } };
  paint.strokeStyle = ink;
  paint.lineWidth = 1.5;
  if ($('show-real').checked) dots(current.real, () => paint.stroke());
  paint.fillStyle = made;
  if ($('show-points').checked) dots(points, () => paint.fill());
}

// A smooth histogram: each point is a small bell.
function density(points, columns, width) {
  const heights = new Float64Array(columns);
  for (const point of points) {
    const from = Math.max(0, Math.floor((point - 3 * width) * columns)), to = Math.min(columns - 1, Math.ceil((point + 3 * width) * columns));
    for (let column = from; column <= to; column++) heights[column] += Math.exp(-0.5 * (((column + 0.5) / columns - point) / width) ** 2);
  }
  return heights.map((height) => height / (points.length * width * Math.sqrt(2 * Math.PI)));
}

function drawLine({ paint, side, ink, made, accent }, { points, judge }) {
  const columns = 180, curves = [current.real, points].map((list) => density(list, columns, 0.022));
  const top = Math.max(...curves[0]) * 1.6;
  const path = (heights, scale) => {
    paint.beginPath();
    heights.forEach((height, column) => paint.lineTo((column + 0.5) / heights.length * side, side - height * scale * side));
  };
  if ($('show-points').checked) {
    path(curves[1], 0.9 / top);
    paint.lineTo(side, side); paint.lineTo(0, side);
    paint.globalAlpha = 0.55; paint.fillStyle = made; paint.fill(); paint.globalAlpha = 1;
  }
  paint.lineWidth = 3;
  if ($('show-real').checked) { path(curves[0], 0.9 / top); paint.strokeStyle = ink; paint.stroke(); }
  if ($('show-judge').checked) { path(judge.map((value) => 0.62 + 0.34 * value), 1); paint.strokeStyle = accent; paint.stroke(); }
}

// --- time

function stop() {
  clearInterval(player);
  cancelAnimationFrame(running);
  player = running = 0;
  $('play').textContent = 'Play';
  $('run').textContent = 'Train';
}

function play() {
  if (player) return stop();
  if (at === ticks.length - 1) show(0);
  $('play').textContent = 'Stop';
  player = setInterval(() => (at === ticks.length - 1 ? stop() : show(at + 1)), 120);
}

// --- training here

const settings = () => ({ rate: 10 ** Number($('rate').value), gamma: Number($('gamma').value), objective: $('objective').value });

function showSettings() {
  $('gamma-value').textContent = Number($('gamma').value).toFixed(1);
  $('rate-value').textContent = settings().rate.toPrecision(1);
}

function beginLive() {
  stop();
  gan = new Gan({ data: $('data').value });
  ticks = [];
  history.replaceState(null, '', '#live');
  current.real = Float32Array.from(gan.real(2000), toShare);
  showSettings();
  observe({});
}

const toShare = (x) => (x - LIVE_VIEW.low) / (LIVE_VIEW.high - LIVE_VIEW.low);

function observe(losses) {
  const points = gan.points(LIVE_POINTS), logits = Array.from({ length: 96 }, (_, k) => gan.judge(LIVE_VIEW.low + (k + 0.5) / 96 * (LIVE_VIEW.high - LIVE_VIEW.low)));
  const low = Math.min(...logits), range = Math.max(...logits) - low || 1;
  const mean = points.reduce((sum, x) => sum + x, 0) / points.length;
  const sd = Math.sqrt(points.reduce((sum, x) => sum + (x - mean) ** 2, 0) / points.length);
  const values = { mean, sd, ...losses };
  if ($('data').value !== 'one') { delete values.mean; delete values.sd; }
  const tick = { kimg: gan.shown / 1000, points: Float32Array.from(points, toShare), judge: logits.map((value) => (value - low) / range), values };
  if (losses.loss_G !== undefined) ticks.push(tick);
  if (ticks.length > MAX_TICKS) ticks = ticks.filter((_, index) => index % 2 === 0);
  at = ticks.length - 1;
  draw(tick);
  showValues(values);
  if (at >= 0) showCharts();
}

function trainFor(milliseconds) {
  const end = performance.now() + milliseconds;
  let losses;
  do losses = gan.step(settings()); while (performance.now() < end);
  observe(losses);
}

function run() {
  if (running) return stop();
  $('run').textContent = 'Stop';
  const loop = () => { trainFor(FRAME_MS); running = requestAnimationFrame(loop); };
  running = requestAnimationFrame(loop);
}

// --- controls

$('choice').append(...trainings.map((training) => {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: training.name, onclick: () => choose(training) });
  button.dataset.key = training.key;
  return button;
}));
$('choice').hidden = trainings.length === 1;
for (const name of ['real', 'points', 'judge', 'manifold']) $(`show-${name}`).onchange = () => (current === LIVE ? observe({}) : show(at));
$('play').onclick = play;
$('back').onclick = () => { stop(); show(at - 1); };
$('forth').onclick = () => { stop(); show(at + 1); };
$('tick').oninput = () => { stop(); show(Number($('tick').value)); };
$('run').onclick = run;
$('step').onclick = () => { stop(); trainFor(0); };
$('restart').onclick = $('data').onchange = beginLive;
$('gamma').oninput = $('rate').oninput = showSettings;
document.onkeydown = (event) => {
  if (current === LIVE || event.target.matches('button, input, select, a') || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = { ' ': play, ArrowLeft: $('back').onclick, ArrowRight: $('forth').onclick }[event.key];
  if (action) { event.preventDefault(); action(); }
};
matchMedia('(prefers-color-scheme: dark)').onchange = () => (current === LIVE ? observe({}) : show(at));

const [key, kimg] = location.hash.slice(1).split('/');
await choose(trainings.find((training) => training.key === key) ?? trainings[0], Number(kimg) || 0);
document.body.dataset.ready = 'yes';
