// The page: recorded toy trainings with a slider for time, and one that trains here.
// All positions are shares of the view, 0 .. 1 from its low to its high end.

import { Gan } from './gan1d.mjs';
import { drawLine, drawPlane, drawSheet, toMask } from './plots.mjs';

const $ = (id) => document.getElementById(id);
const RECORDED = [
  { key: 'toy25', name: 'Learns all 25', story: 'The data are 25 bumps on a grid. The generator folds its plane of latents over them, and the penalties R1 and R2 keep the discriminator smooth enough to show it the way to each.' },
  { key: 'toy25-classic', name: 'Collapses', story: 'The same data and networks with DCGAN\'s loss and no penalty. The discriminator gets ahead, and the generator covers a few bumps over and over: mode collapse.' },
  { key: 'triangles', name: 'Triangles', story: 'The data are pictures: the first row. Of each generated picture the nearest triangle is found, and of each triangle the nearest picture that the generator can make, so both scores are exact. Soon the generator can make every triangle (recall). That nothing else comes out (precision) takes much longer.' },
  { key: 'toy1d', name: 'One dimension', story: 'The data are numbers around 4. The line is the discriminator, drawn over its own range: it leans towards where it misses the data, and the generator follows. At the end it ranks pairs no better than chance.' },
];
const LIVE = { key: 'live', name: 'Train one here', story: 'Two small networks, trained by this page. Take the penalty away, raise the learning rate or change the data, also while they learn, and see what happens. Other data leave the networks as they are, until you begin anew.' };
const NAMES = { modes: 'bumps kept, of 25', on_a_mode: 'points on a bump', exact_precision: 'precision', exact_recall: 'recall', mean: 'mean, of 4', sd: 'deviation, of 1.25', acc_pair: 'pairs D ranks rightly', loss_G: 'loss of G', loss_D: 'loss of D' };
const SCORES = ['modes', 'on_a_mode', 'exact_precision', 'exact_recall', 'mean', 'sd', 'acc_pair'], LOSSES = ['loss_G', 'loss_D'];
const CHARTS = [['modes'], ['on_a_mode'], ['exact_precision', 'exact_recall'], ['mean', 'sd'], LOSSES];
const WHOLES = { modes: 25, on_a_mode: 1, exact_precision: 1, exact_recall: 1 }; // ends of axes, so that little looks little
const SHOWN = ['real', 'points', 'judge', 'manifold'];
const LIVE_VIEW = { low: -3, high: 11, dimensions: 1 }, LIVE_POINTS = 400, FRAME_MS = 12, MAX_TICKS = 400;

const embedded = JSON.parse($('recordings')?.textContent ?? 'null');
const trainings = embedded ? [{ key: 'own', name: embedded.title, story: '', recording: embedded }] : [...RECORDED, LIVE];
let current = null, ticks = [], at = 0, player = 0, gan = null, running = 0;
let turn = 0, last = null; // the latest choice, and the tick that is drawn

// --- reading

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const shares = (text) => Float32Array.from(bytes(text), (byte) => byte / 255);
const hasPictures = (view) => view.side !== undefined;
const samples = (text, view) => (hasPictures(view) ? toMask(bytes(text)) : shares(text));
const decode = async ({ kimg, points, discriminator, manifold, distances, values }, view) =>
  ({ kimg, values, points: await samples(points, view), judge: shares(discriminator), manifold: shares(manifold), distances: shares(distances ?? '') });

async function load(training) {
  if (!training.recording && training !== LIVE) {
    const answer = await fetch(new URL(`${training.key}.json`, import.meta.url)).catch(() => null);
    if (!answer?.ok) throw new Error('The recording could not be loaded.');
    training.recording = await answer.json();
  }
  const recording = training.recording;
  if (recording && !training.ticks) {
    training.real = await samples(recording.real, recording.view);
    training.ticks = await Promise.all(recording.ticks.map((tick) => decode(tick, recording.view)));
  }
  return recording;
}

async function choose(training, kimg = 0) {
  stop();
  const mine = ++turn, recording = await load(training).catch((error) => error);
  if (mine !== turn) return;
  const trouble = recording instanceof Error ? recording.message : '';
  $('trouble').hidden = !trouble;
  $('trouble').textContent = trouble;
  if (trouble) return;
  current = training;
  for (const button of $('choice').children) button.setAttribute('aria-pressed', String(button.dataset.key === training.key));
  const isLive = training === LIVE;
  $('live').hidden = !isLive;
  $('time').hidden = isLive;
  $('title').textContent = isLive ? training.name : recording.title;
  $('story').textContent = training.story;
  $('hint').hidden = isLive;
  current.view = isLive ? LIVE_VIEW : recording.view;
  $('manifold-row').hidden = isLive || !recording.ticks[0]?.manifold;
  $('judge-name').textContent = `discriminator: ${current.view.dimensions === 1 ? 'higher' : 'stronger'} is more like data`;
  $('manifold-row').classList.toggle('outline', hasPictures(current.view));
  $('manifold-name').textContent = hasPictures(current.view) ? 'the nearest triangle, dashed where it is too far' : 'where a lattice of latents goes';
  if (isLive) return goOnLive();
  ticks = training.ticks;
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
const FORMATS = { modes: String, on_a_mode: percent, exact_precision: percent, exact_recall: percent, acc_pair: percent };

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
  const first = current === LIVE ? ticks[0]?.kimg : 0, length = ticks.at(-1)?.kimg - first || 1;
  $('charts').replaceChildren(...CHARTS.flatMap((names) => {
    const drawn = names.filter((name) => ticks.some((tick) => Number.isFinite(tick.values[name])));
    if (!drawn.length || ticks.length < 2) return [];
    const all = drawn.flatMap((name) => ticks.map((tick) => tick.values[name])).filter(Number.isFinite);
    const low = Math.min(0, ...all), high = WHOLES[drawn[0]] ?? (Math.max(...all) || 1);
    const picture = svg('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    const figure = document.createElement('figure'), caption = document.createElement('figcaption');
    drawn.forEach((name, k) => {
      const kept = ticks.filter((tick) => Number.isFinite(tick.values[name]));
      const points = kept.map((tick) => `${100 * (tick.kimg - first) / length},${100 - 100 * (tick.values[name] - low) / (high - low)}`);
      picture.append(svg('polyline', { points: points.join(' '), class: k ? 'second' : 'first' }));
      const label = document.createElement('span');
      label.className = k ? 'second' : 'first';
      label.textContent = `${NAMES[name]} (${WHOLES[name] === 1 ? '0 to 100 %' : `${Number(low.toFixed(1))} to ${Number(high.toFixed(1))}`})`;
      caption.append(label);
    });
    const x = 100 * (ticks[at].kimg - first) / length;
    picture.append(svg('line', { x1: x, x2: x, y1: 0, y2: 100 }));
    figure.append(caption, picture);
    return [figure];
  }));
}

// --- drawing

function draw(tick) {
  last = tick;
  const canvas = $('plot'), paint = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const side = canvas.width;
  paint.clearRect(0, 0, side, side);
  const look = {
    paint, side, ink: colour('--ink'), made: colour('--made'), accent: colour('--accent'), line: colour('--line'), tint: colour('--tint').split(/\s+/).map(Number),
    shown: Object.fromEntries(SHOWN.map((name) => [name, $(`show-${name}`).checked])),
  };
  const plot = hasPictures(current.view) ? drawSheet : current.view.dimensions === 2 ? drawPlane : drawLine;
  plot(look, { ...tick, real: current.real, view: current.view });
}

const redraw = () => last && draw(last);

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

function goOnLive() { // where it was left for a recording
  history.replaceState(null, '', '#live');
  showSettings();
  if (!gan) return beginLive();
  ticks = LIVE.ticks;
  showLatest(LIVE.latest);
}

function beginLive() {
  stop();
  gan = new Gan();
  takeData();
}

function takeData() { // with the networks as they are; curves of other data say nothing of these
  gan.data = $('data').value;
  ticks = LIVE.ticks = [];
  LIVE.real = Float32Array.from(gan.real(2000), toShare);
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
  if (ticks.length > MAX_TICKS) ticks = LIVE.ticks = ticks.filter((_, index) => index % 2 === 0);
  $('count').textContent = `After ${gan.shown / gan.batch} steps of ${gan.batch} samples`;
  showLatest(tick);
}

function showLatest(tick) {
  LIVE.latest = tick;
  at = ticks.length - 1;
  draw(tick);
  showValues(tick.values);
  showCharts();
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
for (const name of SHOWN) $(`show-${name}`).onchange = redraw;
$('play').onclick = play;
$('back').onclick = () => { stop(); show(at - 1); };
$('forth').onclick = () => { stop(); show(at + 1); };
$('tick').oninput = () => { stop(); show(Number($('tick').value)); };
$('run').onclick = run;
$('step').onclick = () => { stop(); trainFor(0); };
$('restart').onclick = beginLive;
$('data').onchange = takeData;
$('gamma').oninput = $('rate').oninput = showSettings;
document.onkeydown = (event) => {
  if (current === LIVE || event.target.matches('button, input, select, a') || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = { ' ': play, ArrowLeft: $('back').onclick, ArrowRight: $('forth').onclick }[event.key];
  if (action) { event.preventDefault(); action(); }
};
matchMedia('(prefers-color-scheme: dark)').onchange = redraw;

const [key, kimg] = location.hash.slice(1).split('/');
await choose(trainings.find((training) => training.key === key) ?? trainings[0], Number(kimg) || 0);
document.body.dataset.ready = 'yes';
