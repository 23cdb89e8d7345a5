// The page that mints many: a form, whose state is the URL's query, and a sheet of images.

import '../play/copying.mjs';
import { MAX, makeSeed } from '../play/address_numbers.mjs';
import { $, el } from '../play/elements.mjs';
import { BASE, call, imagePath } from '../play/service.mjs';
import { showVerify } from '../play/verify.mjs';

const FIELDS = ['model', 'seed', 'n', 'labels', 'psi'], sheet = $('sheet');
let manifests = [], shown = null, picked = 0, columns = 1, aborter = null, timer = 0, edited = { id: '', at: 0 };

// --- the form: its state is the URL's query

const state = () => Object.fromEntries(FIELDS.map((id) => [id, $(id).value.trim()]));
const manifestOf = (name) => manifests.find((manifest) => manifest.name === name);

function choose(select, value) { // a value that the select lacks is added, so that the service can name the error
  if (![...select.options].some((option) => option.value === value)) select.append(el('option', { value, textContent: value }));
  select.value = value;
}

function fit(labels) { // fits labels and psi to the chosen model
  const manifest = manifestOf($('model').value), names = manifest?.labels ?? [], scale = manifest?.continuous_label;
  const group = el('optgroup', { label: 'One class' }, ...names.map((name, k) => el('option', { value: k, textContent: name })));
  const one = scale ? el('option', { value: names.length >> 1, id: 'one-value' }) : group;
  $('labels').replaceChildren(el('option', { value: '', textContent: 'drawn from the seed' }),
    el('option', { value: 'balanced', textContent: scale ? 'each value in turn' : 'balanced' }), one);
  $('scale').parentElement.hidden = !scale;
  if (scale) fitScale(scale, names, labels); else choose($('labels'), labels);
  $('labels').parentElement.hidden = !names.length && !labels;
  $('psi').parentElement.hidden = !manifest?.truncation;
  if (!manifest?.truncation) $('psi').value = 1;
  $('psi-value').textContent = Number($('psi').value).toFixed(2);
}

// The values of a continuous label are on a slider; the list has one of them, the slider's.
function fitScale(scale, names, labels) {
  $('scale').max = names.length - 1;
  $('scale').value = names[labels] === undefined ? names.length >> 1 : labels;
  $('scale-name').textContent = scale;
  nameOne(scale, names);
  choose($('labels'), labels);
  showValue(names);
}

function nameOne(scale, names) {
  const k = $('scale').value;
  Object.assign($('one-value'), { value: k, textContent: `${scale} ${names[k]}` });
}

function showValue(names) { // of all images, if they have one
  $('scale-value').textContent = names[$('labels').value] ?? '';
  $('scale').ariaValueText = names[$('scale').value];
}

function fromUrl() {
  const query = new URLSearchParams(location.search);
  choose($('model'), query.get('model') || manifests[0].name);
  for (const id of ['seed', 'n']) $(id).value = query.get(id) ?? $(id).defaultValue;
  $('psi').value = Number(query.get('psi')) || 1;
  fit(query.get('labels') ?? '');
}

function edit(id, wait) { // successive edits of one field are one step of the back button
  const now = Date.now(), same = edited.id === id && now - edited.at < 2000, manifest = manifestOf($('model').value);
  edited = { id, at: now };
  if (id === 'model') fit($('labels').value === 'balanced' && manifest?.labels.length ? 'balanced' : '');
  if (id === 'scale') {
    nameOne(manifest.continuous_label, manifest.labels);
    $('one-value').selected = true;
  }
  if (manifest?.continuous_label) showValue(manifest.labels);
  $('psi-value').textContent = Number($('psi').value).toFixed(2);
  const query = '?' + new URLSearchParams(Object.entries(state()).filter(([field, value]) => field !== 'labels' || value));
  if (query !== location.search) history[same && id !== 'random' ? 'replaceState' : 'pushState'](null, '', query);
  clearTimeout(timer);
  timer = setTimeout(start, wait);
}

function validate({ seed, n }) {
  const errors = [], whole = (text) => /^\d+$/.test(text);
  if (!whole(seed) || BigInt(seed) > MAX) errors.push({ field: 'seed', message: `must be a whole number from 0 to ${MAX}` });
  if (!whole(n) || n < 1 || n > 100) errors.push({ field: 'n', message: 'must be a whole number from 1 to 100' });
  return errors;
}

function bodyOf({ model, seed, n, labels, psi }) {
  const body = { model, seed: Number(seed), n: Number(n) }, { continuous_label: scale, labels: names } = manifestOf(model) ?? {};
  if (labels) body.labels = scale && names[labels] ? { [scale]: Number(names[labels]) } : /^\d+$/.test(labels) ? Number(labels) : labels;
  if (Number(psi) !== 1) body.psi = Number(psi);
  return body;
}

// --- the service

async function readModels(signal) {
  manifests = (await (await call('v1/models', { signal })).json()).models;
}

async function mint() {
  clearTimeout(timer);
  aborter?.abort();
  const { signal } = aborter = new AbortController(), fields = state(), errors = validate(fields), began = performance.now();
  try {
    if (errors.length) throw { detail: 'The request was not sent:', errors };
    sheet.ariaBusy = 'true';
    const body = bodyOf(fields), headers = { 'Content-Type': 'application/json', Accept: 'application/json' };
    const answer = await (await call('generate', { method: 'POST', headers, body: JSON.stringify(body), signal })).json();
    if (manifestOf(answer.model)?.version !== answer.version) await readModels(signal); // published since
    if (signal.aborted) return;
    complain(null);
    show(answer, body);
    const s = answer.images.length === 1 ? '' : 's', seconds = ((performance.now() - began) / 1000).toFixed(2);
    $('status').textContent = `${answer.images.length} synthetic image${s} from seed ${answer.seed}, in ${seconds} s`;
  } catch (problem) {
    if (signal.aborted) return;
    if (problem instanceof Error && problem.status === undefined) { console.error(problem); problem = { detail: 'The response could not be shown.' }; }
    complain(problem);
  }
  sheet.ariaBusy = 'false';
}

function complain(problem) { // says what went wrong beside the form; the last images stay, faded
  const errors = [].concat(problem?.errors ?? []);
  $('alert').replaceChildren();
  $('trouble').hidden = !problem;
  $('again').hidden = errors.length > 0;
  sheet.classList.toggle('stale', !!problem);
  for (const id of FIELDS) {
    const wrong = errors.some(({ field }) => String(field).split(/[.[]/).includes(id));
    $(id).ariaInvalid = wrong ? 'true' : null;
    if (wrong) $(id).setAttribute('aria-describedby', 'alert'); else $(id).removeAttribute('aria-describedby');
  }
  if (!problem) return;
  $('alert').append(el('p', { textContent: problem.detail ?? problem.message }));
  const items = errors.map(({ field, message }) => el('li', {}, el('b', { textContent: field === 'n' ? 'count' : field }), ` ${message}`));
  if (items.length) $('alert').append(el('ul', {}, ...items));
  $('status').textContent = shown ? `Still showing ${shown.images.length} from seed ${shown.seed}` : '';
}

// --- what is shown

const permanent = (address) => BASE + imagePath(address);
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const altOf = (image) => `synthetic ${image.label_name ?? `image of ${shown.model}`}`;
const sourceOf = (image) => `data:${image.media_type};base64,${image.b64}`;
const scaled = (room, size) => { // whole device pixels per pixel, unless that wastes much of a dense screen
  const whole = Math.floor(room * devicePixelRatio / size) * size / devicePixelRatio;
  return whole > (devicePixelRatio < 2 ? 0 : .85 * room) ? whole : Math.floor(room);
};

function curl(id, ...parts) { // breaks between its parts first
  $(id).replaceChildren('curl -s', ...parts.flatMap((part) => [' ', el('span', { textContent: part })]));
}

function show(answer, body) {
  const manifest = manifestOf(answer.model);
  shown = { ...answer, body, size: manifest.image, classes: manifest.labels.length };
  sheet.replaceChildren(...answer.images.map((image) => el('li', {}, el('a', { href: permanent(image.address), tabIndex: -1 },
    el('img', { src: sourceOf(image), alt: altOf(image), width: manifest.image.width, height: manifest.image.height })))));
  curl('grid-curl', `${BASE}generate`, "-H 'Accept: image/png'", `-d ${quoted(JSON.stringify(body))}`, '-o grid.png');
  $('grid-copy').hidden = $('picked').hidden = false;
  document.title = `${answer.model}, seed ${answer.seed} - Ganmint`;
  layout();
  pick(Math.min(picked, answer.images.length - 1));
  showManifest(manifest);
}

function layout() { // a balanced sheet has one column per class
  if (!shown) return;
  const { images: { length: n }, size: { width, height }, classes, body } = shown;
  columns = body.labels === 'balanced' && classes > 1 && classes <= 10 && n > classes ? classes : Math.ceil(Math.sqrt(n));
  const beside = matchMedia('(min-width: 60rem)').matches ? 360 : 0;
  const across = ($('work').clientWidth - beside + 2) / columns - 2, down = (innerHeight * .92 / Math.ceil(n / columns) - 2) * width / height;
  const tile = scaled(Math.max(24, Math.min(across, Math.max(down, 40), 224)), width), large = scaled(Math.min(312, $('work').clientWidth), width);
  sheet.style.gridTemplateColumns = `repeat(${columns}, ${tile}px)`;
  sheet.classList.toggle('crisp', width < 128 && tile * devicePixelRatio >= width);
  $('picked').classList.toggle('crisp', width < 128);
  Object.assign($('large'), { width: large, height: large * height / width });
}

function pick(index, focus) {
  const image = shown.images[index], links = [...sheet.querySelectorAll('a')], url = permanent(image.address);
  picked = index;
  links.forEach((link, k) => { link.tabIndex = k === index ? 0 : -1; link.ariaCurrent = k === index ? 'true' : null; });
  if (focus) links[index].focus();
  Object.assign($('large'), { src: sourceOf(image), alt: altOf(image) });
  $('picked-title').textContent = `Image ${image.index}` + (image.label_name == null ? '' : `, ${manifestOf(shown.model).continuous_label || 'label'} ${image.label_name}`);
  Object.assign($('permanent'), { href: url, textContent: image.address });
  curl('image-curl', quoted(url), `-o ${shown.model}-${shown.seed}-${image.index}.png`);
}

function showManifest(manifest) {
  const { data, kimg } = manifest.training, count = (value) => value.toLocaleString('en');
  const facts = [['Version', manifest.version], ['Image', `${manifest.image.width}×${manifest.image.height}, ${manifest.image.channels === 1 ? 'grey' : 'colour'}`],
    ['Trained on', `${data.name}, ${count(data.images)} images`], ['Images seen in training', `${count(kimg * 1000)} images`],
    ['Licence of the weights', manifest.licence], ['Licence of the data', data.licence], ['Attribution', data.attribution]];
  $('card').hidden = false;
  $('card-title').textContent = `The model: ${manifest.name}`;
  $('card-text').textContent = manifest.description;
  $('card-facts').replaceChildren(...facts.map(([name, value]) => el('div', { className: name === 'Attribution' ? 'wide' : '' },
    el('dt', { textContent: name }), el('dd', { textContent: value }))));
  $('card-link').href = `${BASE}v1/models/${manifest.name}`;
}

// --- what the user does

sheet.addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  pick([...sheet.children].indexOf(link.parentElement));
  $('permanent').scrollIntoView({ block: 'nearest' });
});
sheet.addEventListener('keydown', (event) => {
  const last = shown.images.length - 1;
  const to = { ArrowLeft: picked - 1, ArrowRight: picked + 1, ArrowUp: picked - columns, ArrowDown: picked + columns, Home: 0, End: last }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (to >= 0 && to <= last) pick(to, true);
});
$('form').addEventListener('input', ({ target }) => edit(target.id, target.tagName === 'SELECT' ? 0 : 300));
$('form').addEventListener('submit', (event) => { event.preventDefault(); start(); });
$('random').addEventListener('click', () => {
  $('seed').value = makeSeed();
  edit('random', 0);
});
addEventListener('popstate', () => { edited.id = ''; if (manifests.length) { fromUrl(); mint(); } });
addEventListener('resize', layout);

async function start() {
  if (manifests.length) return mint();
  try {
    await readModels();
    if (!manifests.length) throw { detail: 'This service has no model.' };
  } catch (problem) { return complain(problem); }
  $('model').replaceChildren(...manifests.map(({ name }) => el('option', { value: name, textContent: name })));
  fromUrl();
  return mint();
}
showVerify($('check'));
start();
