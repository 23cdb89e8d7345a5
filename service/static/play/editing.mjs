// The panel that edits feature maps: a level, where, which units, and what they are set to.

import { describeRectangle, getRectangle, makeRectangle, onBrush, setGrid, setRectangle } from './brush.mjs';
import { $, el } from './elements.mjs';
import { MOST_UNITS, listLevels, setUnits } from './level_edits.mjs';
import { keyOf, readLevel, reasons } from './minter.mjs';
import { change, onChange, onStill, page } from './page.mjs';
import { complain } from './trouble.mjs';
import { drawUnit, drawUnits, listUnits, markUnits, nameUnits, onUnit, readNames } from './units.mjs';

const MOST = 100, STRONGEST = 20, STEPS = 200, panel = $('edits'), value = $('value');
const chosen = new Set();
let levels = [], level = 0, model = '', edits = '', maps = null, names = [];
let large = null; // the unit that lies over the picture

export const getLevel = () => level;

const wholeOrRectangle = () => {
  const corners = getRectangle(), { height, width } = levels[level];
  return corners && corners[2] - corners[0] + corners[3] - corners[1] < height + width ? corners : null;
};

// --- what is shown

onChange(({ state, manifest }) => {
  levels = manifest.schema_version === 1 ? [] : listLevels(manifest.network.network);
  panel.hidden = !levels.length;
  if (panel.hidden) return putAway();
  if (model !== keyOf(state)) start(keyOf(state));
  const now = JSON.stringify([state.paste, state.units]);
  if (now !== edits) [edits, large] = [now, null]; // so that one sees what an edit does
  showChoice();
});

const showIfOpen = (onError) => panel.hidden || !panel.open || showMaps().catch(onError);
onStill((_, onError) => showIfOpen(onError));

function putAway() {
  model = '';
  setGrid(null);
  $('map').hidden = true;
}

function start(key) {
  [model, level] = [key, 0];
  setRectangle(null);
  $('levels').replaceChildren(...levels.map(({ units, height, width }, k) => {
    const choice = el('input', { type: 'radio', name: 'level', value: k });
    return el('label', { title: `${units} units of ${width}x${height} cells` }, choice, `${k}`, el('small', { textContent: `${width}×${height}` }));
  }));
  setLevel(Math.floor((levels.length - 1) / 2));
}

function setLevel(next) {
  level = next;
  chosen.clear();
  [maps, names, large] = [null, [], null];
  $('levels').querySelectorAll('input')[level].checked = true;
  setGrid(panel.open ? levels[level] : null);
  listUnits(level, levels[level].units);
  showNames();
}

async function showMaps() {
  const { resolved, manifest, apiKey } = page, at = level;
  const [values, known] = await Promise.all([readLevel(at, resolved, manifest, apiKey), readNames(manifest, at, apiKey)]);
  if (at !== level || resolved !== page.resolved) return;
  names = known;
  nameUnits(names);
  showNames();
  $('units-note').textContent = values ? 'Green is above 0, orange below.' : `Without feature maps: ${reasons.get(model)}.`;
  maps = values && { values, ...levels[at], most: values.reduce((most, one) => Math.max(most, Math.abs(one)), 0) };
  if (maps) drawUnits(maps);
  showChoice();
}

function showNames() {
  const concepts = [...new Set(names.map(({ concept }) => concept))].sort();
  if ($('concept').options.length === concepts.length + 1) return; // so that its choice stays
  $('concept').hidden = !concepts.length;
  const options = concepts.map((concept) => el('option', { value: concept, textContent: concept }));
  $('concept').replaceChildren(el('option', { value: '', textContent: 'Choose by name' }), ...options);
}

function describeChoice() {
  if (chosen.size !== 1) return `${chosen.size || 'none'} of ${levels[level].units} chosen`;
  const [unit] = chosen, name = names.find((one) => one.unit === unit);
  return `unit ${unit} of level ${level}${name ? `: ${name.concept}` : ''}`;
}

function showChoice() {
  const edits = page.state.units.filter((one) => one.level === level), corners = wholeOrRectangle();
  const [first] = chosen, edit = edits.find(({ unit }) => unit === first), isChosen = chosen.size > 0;
  markUnits(chosen, new Set(edits.map(({ unit }) => unit)));
  $('choice').textContent = describeChoice();
  $('cells').textContent = corners ? `${describeRectangle(corners)}. Arrow keys move it, with Shift they resize it.` : 'Drag on the picture to draw one.';
  $(corners ? 'in-rectangle' : 'everywhere').checked = true;
  for (const id of ['value', 'erase', 'put-back']) $(id).disabled = !isChosen;
  $('put-back').disabled = !edits.some(({ unit }) => chosen.has(unit));
  const { length: edited } = page.state.units;
  $('edited').textContent = edited ? `${edited} of at most ${MOST_UNITS} units edited` : '';
  $('strongest').disabled = !maps;
  $('strongest').textContent = `Choose the ${Math.min(STRONGEST, levels[level].units)} strongest${corners ? ' there' : ''}`;
  showValue(edit, corners);
  $('map').hidden = !panel.open || large === null || !maps;
  if (!$('map').hidden) drawUnit($('map'), maps, large);
}

function showValue(edit, corners) {
  const most = roundUp(maps?.most ?? 10), now = edit?.value ?? (maps && chosen.size ? meanOf([...chosen][0], corners) : 0);
  if (document.activeElement !== value || !edit) {
    Object.assign(value, { min: -most, max: most, step: most / STEPS });
    value.value = now;
  }
  $('value-now').textContent = chosen.size ? `${edit ? '' : 'now about '}${Number(now.toFixed(2))}` : '';
}

function roundUp(most) { // to 1, 2 or 5 times a power of ten
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 0.1)));
  return Math.min(MOST, [1, 2, 5, 10].find((step) => step * power >= most) * power);
}

const average = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
const meanOf = (unit, corners) => average(cellsOf(unit, corners));

function cellsOf(unit, corners) {
  const { values, height, width } = maps, [y0, x0, y1, x1] = corners ?? [0, 0, height, width], cells = [];
  for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) cells.push(values[(unit * height + y) * width + x]);
  return cells;
}

// --- what is chosen

panel.addEventListener('toggle', () => {
  setGrid(panel.open ? levels[level] : null);
  if (!panel.open) large = null;
  showChoice();
  showIfOpen(complain);
});

$('levels').addEventListener('change', ({ target }) => {
  setLevel(Number(target.value));
  showChoice();
  showMaps().catch(complain);
});

onUnit((unit, isBesides) => {
  const wasAlone = chosen.size === 1 && chosen.has(unit), isKept = isBesides || $('several').checked;
  if (!isKept) chosen.clear();
  if (wasAlone || (isKept && chosen.has(unit))) chosen.delete(unit); else chosen.add(unit);
  large = chosen.has(unit) ? unit : null;
  showChoice();
});

function choose(units) {
  chosen.clear();
  for (const unit of units.slice(0, STRONGEST)) chosen.add(unit);
  large = null;
  showChoice();
}

$('strongest').addEventListener('click', () => {
  const corners = wholeOrRectangle(), strength = (unit) => average(cellsOf(unit, corners).map(Math.abs));
  const ranked = Array.from({ length: levels[level].units }, (_, unit) => [strength(unit), unit]).sort(([a], [b]) => b - a);
  choose(ranked.map(([, unit]) => unit));
});

$('concept').addEventListener('change', ({ target }) => {
  choose(names.filter(({ concept }) => concept === target.value).map(({ unit }) => unit));
});

onBrush(showChoice);
$('everywhere').addEventListener('change', () => setRectangle(null));
$('in-rectangle').addEventListener('change', () => setRectangle(makeRectangle()));

// --- what is changed

const set = (to, id) =>
  change({ units: setUnits(page.state, level, [...chosen], to, wholeOrRectangle()) }, id);

value.addEventListener('input', () => set(Number(Number(value.value).toFixed(4)) + 0, 'value')); // + 0: no -0
$('erase').addEventListener('click', () => set(0, `erase ${[...chosen]}`));
$('put-back').addEventListener('click', () => set(null, `put back ${[...chosen]}`));
