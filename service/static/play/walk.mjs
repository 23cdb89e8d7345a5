// The way from the image to a second one: its end, how far along, and pictures on the way.

import { formatState, isItself, unmixed } from './address.mjs';
import { makeSeed } from './address_numbers.mjs';
import { $, fillField } from './elements.mjs';
import { makeLabelField } from './labels.mjs';
import { leaveOutOwn } from './level_edits.mjs';
import { change, onChange, onStill, page } from './page.mjs';
import { readInteger } from './seeds.mjs';
import { makeThumbnails, nameOf } from './thumbnails.mjs';

const STEPS = 8, list = $('walk-list'), thumbnails = makeThumbnails(list, pick);
const endLabel = makeLabelField('tolabel', (tolabel) => change({ tolabel }, 'tolabel'));
const round = (share) => Number(share.toFixed(4));

onChange(({ state, resolved, manifest, source }) => {
  const { to, at, latent } = state, isMixed = to !== null, { labels } = manifest;
  $('way').hidden = !isMixed;
  $('walk-hint').hidden = isMixed;
  $('swap').disabled = !isMixed || latent !== null || isItself(state);
  $('stop').disabled = !isMixed;
  $('next-end').disabled = latent !== null;
  $('class-end').hidden = labels.length < 2 || manifest.schema_version === 1;
  $('class-end').disabled = latent !== null;
  $('class-end').textContent = `To another ${manifest.continuous_label || 'class'}`;
  for (const id of ['to-seed', 'to-index'])
    if (source !== id) fillField($(id), to?.[id.slice(3)]);
  const open = state.label === null ? 'drawn' : 'the same', end = resolved.tolabel ?? resolved.label;
  endLabel.show({ chosen: state.tolabel, shown: end, open, taken: resolved.label, isOff: !isMixed }, manifest);
  if (!isMixed) return;
  showLine(makeSteps(resolved).filter((_, k) => k % STEPS === 0).map(({ state: end }) => end));
  $('at').value = at;
  const share = `${Math.round(at * 10000) / 100}%`;
  $('at-value').textContent = share;
  $('at').ariaValueText = `${share} of the way${resolved.tolabel === null ? '' : `, ${nameOf(resolved, manifest)}`}`;
  mark(at);
});

const mark = (at) => [...list.children].forEach(({ firstChild: link }, k) => {
  link.ariaCurrent = Math.abs(k / STEPS - at) <= 0.5 / STEPS ? 'true' : null;
});

// `ganmint walk` asks for the same pastes at both ends, and a paste is left out of its own source only.
function showLine(ends) {
  $('walk-line').parentElement.hidden = ends[0].paste.length !== ends[1].paste.length;
  $('walk-line').textContent = `ganmint walk ${ends.map((end) => `'${formatState(end)}'`).join(' ')} --out walk.webp`;
}

// Resolved states from the start to the end; the two themselves are no mixtures, and have no pastes of themselves.
function makeSteps({ latent, ...state }) {
  const { to, label, tolabel } = state, end = { ...to, label: tolabel ?? label, latent: null, ...unmixed };
  return Array.from({ length: STEPS + 1 }, (_, k) => {
    const at = k / STEPS;
    if (!k) return { state: leaveOutOwn({ ...state, latent, ...unmixed }), title: 'the start' };
    if (k === STEPS) return { state: leaveOutOwn({ ...state, ...end }), title: 'the end' };
    return { state: { ...state, latent, at }, title: `${100 * at}% of the way` };
  });
}

onStill(({ resolved }, onError) => {
  if (!resolved.to) return thumbnails.stop();
  thumbnails.show(makeSteps(resolved), onError);
  mark(resolved.at);
});

function pick(_, k) {
  const { to, label, latent, z } = page.resolved, { tolabel } = page.resolved;
  if (k && k < STEPS) return change({ at: k / STEPS }, 'at');
  if (!k) return change(unmixed, 'start');
  const isDrawn = page.state.label === null && page.state.tolabel === null;
  change({ ...to, latent: null, z: latent === null ? z : {}, label: isDrawn ? null : tolabel ?? label, ...unmixed }, 'end');
}

function swap() { // the same image, seen from its other end
  const { state, resolved: { label, tolabel } } = page, { seed, index, to, at } = state;
  const isDrawn = state.label === null && state.tolabel === null;
  const classes = isDrawn ? {} : { label: tolabel ?? label, tolabel: label };
  change({ ...to, to: { seed, index }, at: round(1 - at), ...classes }, 'swap');
}

function mixClasses() { // of one latent
  const { seed, index, at } = page.state, { label } = page.resolved, { labels: { length: count }, continuous_label: isScale } = page.manifest;
  const farEnd = label < count / 2 ? count - 1 : 0;
  change({ label, to: { seed, index }, tolabel: isScale ? farEnd : (label + 1) % count, at: at ?? 0.5 }, 'class-end');
}

const walkTo = (to, id) => change({ to, tolabel: null, at: page.state.at ?? 0.5 }, id);

$('swap').addEventListener('click', swap);
$('stop').addEventListener('click', () => change(unmixed, 'stop'));
$('class-end').addEventListener('click', mixClasses);
$('next-end').addEventListener('click', () => {
  const { to, seed, index } = page.state, from = to ?? { seed, index };
  walkTo({ ...from, index: from.index + 1 }, 'next-end');
});
$('random-end').addEventListener('click', () => walkTo({ seed: makeSeed(), index: 0 }, 'random-end'));
$('at').addEventListener('input', ({ target }) => change({ at: round(Number(target.value)) }, 'at'));
for (const id of ['to-seed', 'to-index']) $(id).addEventListener('input', async ({ target }) => {
  const value = await readInteger(target, id === 'to-seed');
  if (value === null) return;
  const to = page.state.to ?? { seed: page.state.seed ?? 0, index: 0 };
  walkTo({ ...to, [id.slice(3)]: value }, id);
});
