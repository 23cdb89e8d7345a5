// The page: the picture, the form of what it depends on, and the lines that name it.

import './chips.mjs';
import './editing.mjs';
import './following.mjs';
import './pasting.mjs';
import './sliders.mjs';
import './walk.mjs';
import { formatFileName, formatState, unedited, unmixed } from './address.mjs';
import { MAX, makeSeed } from './address_numbers.mjs';
import { copy } from './copying.mjs';
import { $, el, fillField } from './elements.mjs';
import { change, fromUrl, listManifests, onChange, page, shareLink } from './page.mjs';
import { keyOf, mint, paint, reasons } from './minter.mjs';
import { makeLabelField, passOver } from './labels.mjs';
import { readInteger } from './seeds.mjs';
import { BASE, call, imagePath } from './service.mjs';
import { nameOf } from './thumbnails.mjs';
import { attempt, complain, disable } from './trouble.mjs';
import { showVerify } from './verify.mjs';

const LATE_MS = 400, SEEN = 0.3; // the share of the picture that is enough
const picture = $('picture'), mini = $('mini'), labelField = makeLabelField('label', (label) => change({ label }, 'label'));
let title = ''; // of the picture

// --- the picture and its lines

onChange(async ({ resolved, manifest }) => {
  fill();
  const isLate = setTimeout(() => { if (resolved === page.resolved) $('title').textContent = 'Minting'; }, LATE_MS);
  try {
    const image = await mint(resolved, manifest, page.apiKey, true).finally(() => clearTimeout(isLate));
    if (image) show(image, resolved, manifest);
  } catch (error) {
    if (resolved !== page.resolved) return;
    $('title').textContent = title;
    if (error.status === 0) disable(error); else complain(error, true);
  }
});

function show(image, resolved, manifest) {
  const name = nameOf(resolved, manifest), { seed, index, latent, to } = resolved, where = $('where');
  const place = latent === null ? `seed ${seed}, index ${index}` : 'a written latent';
  const whole = `${place}${to ? `, mixed with seed ${to.seed}, index ${to.index}` : ''}`;
  for (const canvas of [picture, mini.firstChild]) paint(canvas, image);
  picture.classList.remove('stale');
  $('frame').style.setProperty('--aspect', image.width / image.height);
  picture.ariaLabel = `synthetic ${name ? `${name}, ` : ''}image of ${resolved.model}, ${whole}`;
  title = $('title').textContent = [latent === null ? `Image ${index}` : 'Written out', name].filter((part) => part !== '').join(': ');
  where.textContent = `All synthetic, minted ${reasons.has(keyOf(resolved)) ? 'by the service' : 'in this browser'}.`;
  document.title = `${keyOf(resolved)}, ${whole} - Ganmint`;
  showLines(resolved);
  complain(page.refusal);
  document.body.dataset.ready = formatState(page.state);
}

// A small copy is in a corner while the picture is out of view.
new IntersectionObserver((entries) => { mini.hidden = entries.at(-1).intersectionRatio >= SEEN; }, { threshold: SEEN }).observe($('frame'));
mini.addEventListener('click', () => {
  picture.scrollIntoView({ block: 'center' });
  picture.focus({ preventScroll: true });
});

function showLines(resolved) {
  const address = formatState(resolved), path = imagePath(address);
  const file = formatFileName(resolved), reason = reasons.get(keyOf(resolved));
  $('permanent').textContent = address;
  if (page.apiKey) $('permanent').removeAttribute('href'); else $('permanent').href = BASE + path; // a link carries no key
  $('note').textContent = `Permanent address: always the same bytes.${reason ? ` Minted by the service: ${reason}.` : ''}`;
  $('curl').textContent = `curl -fsS ${page.apiKey && '-H "Authorization: Bearer $KEY" '}'${BASE}${path}' -o ${file}`;
  $('command').textContent = `ganmint sample '${address}' --out ${file}`;
  $('python').textContent = `import ganmint\nganmint.load("${keyOf(resolved)}").mint_addresses(["${address}"])`;
  Object.assign($('download'), { download: file, href: BASE + path });
}

// --- the form

function offerModels(key) {
  const keys = [...new Set([...listManifests().map(({ name, version }) => `${name}/${version}`), key])], models = $('model');
  if (models.options.length !== keys.length)
    models.replaceChildren(...keys.map((value) => el('option', { value, textContent: value.replace('/', ' ') })));
  models.value = key;
}

function describeKeys({ labels: { length: classes }, continuous_label: scale }) {
  const choice = scale ? `, ↑ and ↓ change the ${scale}` : classes > 1 ? `, 0 to ${Math.min(classes, 10) - 1} choose a class` : '';
  return `With the picture in focus: ← and → change the index, R draws a seed${choice}.`;
}

function fill() {
  const { state, resolved, manifest } = page, isWritten = state.latent !== null;
  offerModels(keyOf(state));
  for (const id of ['seed', 'index']) if (page.source !== id) fillField($(id), state[id]);
  $('seed').placeholder = isWritten ? 'the latent is written out' : $('to-seed').placeholder;
  labelField.show({ chosen: state.label, shown: resolved.label, open: 'drawn', mayBeOpen: !isWritten, taken: state.tolabel }, manifest);
  $('keys').textContent = describeKeys(manifest);
  $('psi').parentElement.hidden = !manifest.truncation;
  $('psi').value = state.psi;
  $('psi-value').textContent = state.psi.toFixed(2);
  $('index').disabled = isWritten;
  $('previous').disabled = isWritten || state.index === 0;
  $('next').disabled = isWritten || state.index === MAX;
}

const step = (by) => {
  const index = page.state.index + by;
  if (page.state.latent === null && index >= 0 && index <= MAX) change({ index }, 'index');
};

function stepLabel(by) {
  const { state, resolved: { label }, manifest: { labels: { length: count } } } = page, at = label + by;
  if (at >= 0 && at < count) change({ label: passOver(at, label, state.tolabel, count) }, 'label');
}

const drawSeed = () => change({ seed: makeSeed(), index: 0, latent: null }, 'random');

$('form').addEventListener('input', ({ target }) => {
  const { id, value } = target;
  if (id === 'model') {
    const [model, version] = value.split('/'), { seed, index } = page.state;
    const start = { seed: seed ?? 7, index: index ?? 0, latent: null };
    change({ model, version, ...start, label: null, psi: 1, ...unedited, ...unmixed }, id);
  } else if (id === 'psi') change({ psi: Number(value) }, id);
  else if (id === 'seed' || id === 'index') readStart(target);
});

async function readStart(field) {
  const integer = await readInteger(field, field.id === 'seed');
  if (integer === null) return;
  const { seed, index } = page.state, start = { seed: seed ?? 0, index: index ?? 0, latent: null };
  change({ ...start, [field.id]: integer }, field.id);
}
$('form').addEventListener('submit', (event) => event.preventDefault());
$('random').addEventListener('click', drawSeed);
$('previous').addEventListener('click', () => step(-1));
$('next').addEventListener('click', () => step(1));
picture.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !page.state) return;
  const label = /^\d$/.test(event.key) ? Number(event.key) : null;
  if (event.key === 'ArrowLeft') step(-1);
  else if (event.key === 'ArrowRight') step(1);
  else if (event.key.toLowerCase() === 'r') drawSeed();
  else if (page.manifest.continuous_label && ['ArrowUp', 'ArrowDown'].includes(event.key)) stepLabel(event.key === 'ArrowUp' ? 1 : -1);
  else if (label !== null && label < page.manifest.labels.length && !page.manifest.continuous_label) change({ label }, 'label');
  else return;
  event.preventDefault();
});

// --- taking it along

async function save({ href, download }) {
  const answer = await call(href.slice(BASE.length), { key: page.apiKey }), url = URL.createObjectURL(await answer.blob());
  el('a', { href: url, download }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

$('download').addEventListener('click', (event) => {
  event.preventDefault(); // so that what goes wrong is said, and because a link carries no key
  attempt('wrong-copy', () => save($('download')));
});
$('share').addEventListener('click', ({ target }) => copy(shareLink(), target));
showVerify($('check'), () => page.apiKey);
fromUrl();
