// Edits of feature maps in an address: `paste` and `uL.U` (docs/addresses.md). Rectangles are [y0, x0, y1, x1].

import { decimalWithin, place, whole } from './address_numbers.mjs';

export const MOST_UNITS = 64;
const MOST_PASTES = 4, MOST_VALUE = 100;

// {units, height, width} of each level, from the lowest resolution upwards; none where the network has no feature maps.
export function listLevels({ widths = [], base }) {
  const [height, width] = Array.isArray(base) ? base : [base, base];
  return widths.map((units, level) => ({ units, height: height << level, width: width << level }));
}

export const unitName = ({ level, unit }) => `u${level}.${unit}`;

// Returns {level, unit} of a part's name, null where it is none of these.
export function parseUnitName(name) {
  const [, level, unit] = name.match(/^u(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})$/) ?? [];
  return level === undefined ? null : { level: Number(level), unit: Number(unit) };
}

function rectangle(corners, what) {
  const [y0, x0, y1, x1] = corners.map((corner) => whole(corner, what));
  if (y0 < y1 && x0 < x1) return [y0, x0, y1, x1];
  throw new Error(`${what}: has no cells: Y1 must be above Y0, and X1 above X0`);
}

// L_SEED.INDEX_LABEL_Y0_X0_Y1_X1, where the label may be left out -> {level, seed, index, label, rectangle}
export function parsePaste(text) {
  const [level, source, ...rest] = text.split('_');
  if (rest.length !== 4 && rest.length !== 5) throw new Error('paste: must be L_SEED.INDEX_LABEL_Y0_X0_Y1_X1 such as 2_7.0_1_8_4_12_12');
  const label = rest.length === 5 ? whole(rest.shift(), 'paste') : null;
  return { level: whole(level, 'paste'), ...place(source, 'paste'), label, rectangle: rectangle(rest, 'paste') };
}

// V or V_Y0_X0_Y1_X1 -> {level, unit, value, rectangle}; the rectangle is null where all of the map is set.
export function parseUnit(found, text) {
  const [value, ...corners] = text.split('_'), what = unitName(found);
  if (corners.length && corners.length !== 4) throw new Error(`${what}: must be V or V_Y0_X0_Y1_X1 such as -1.5_8_4_12_12`);
  return { ...found, value: decimalWithin(value, MOST_VALUE, what), rectangle: corners.length ? rectangle(corners, what) : null };
}

export const formatPaste = ({ level, seed, index, label, rectangle: corners }) =>
  [level, `${seed}.${index}`, ...(label === null ? [] : [label]), ...corners].join('_');

export const formatUnit = ({ value, rectangle: corners }) => [value, ...(corners ?? [])].join('_');

const compare = (a, b) => a.map((value, k) => value - b[k]).find((difference) => difference) ?? 0;

// The canonical order. Both keep the order of equals.
export const sortPastes = (pastes) => [...pastes].sort((a, b) => compare([a.level, ...a.rectangle], [b.level, ...b.rectangle]));
export const sortUnits = (units) => [...units].sort((a, b) => compare([a.level, a.unit], [b.level, b.unit]));

export const contains = ([y0, x0, y1, x1], [top, left, bottom, right]) => y0 <= top && x0 <= left && y1 >= bottom && x1 >= right;
export const overlaps = (a, b) => Math.max(a[0], b[0]) < Math.min(a[2], b[2]) && Math.max(a[1], b[1]) < Math.min(a[3], b[3]);

// Throws an Error where sorted edits are too many, or one covers another.
export function checkEdits({ paste, units }) {
  if (paste.length > MOST_PASTES) throw new Error(`paste: is given ${paste.length} times; an address has at most ${MOST_PASTES}`);
  if (units.length > MOST_UNITS) throw new Error(`units: are ${units.length}; an address sets at most ${MOST_UNITS} units`);
  paste.forEach((earlier, k) => {
    const isCovered = paste.slice(k + 1).some((later) => later.level === earlier.level && contains(later.rectangle, earlier.rectangle));
    if (isCovered) throw new Error(`paste: changes nothing, because one after it covers it: ${formatPaste(earlier)}`);
  });
}

// Units of a level set to a value, in a rectangle or everywhere (null), or with no value put back: the units that a state
// then has.
export function setUnits({ units }, level, chosen, value = null, corners = null) {
  const others = units.filter((one) => one.level !== level || !chosen.includes(one.unit));
  const set = value === null ? [] : chosen.map((unit) => ({ level, unit, value, rectangle: corners }));
  return sortUnits([...others, ...set]);
}

// The pastes of a state with one more, which replaces those that it covers.
export const addPaste = (pastes, paste) =>
  sortPastes([...pastes.filter((one) => one.level !== paste.level || !contains(paste.rectangle, one.rectangle)), paste]);

function checkPlace({ level, rectangle: corners }, levels, what) {
  if (level >= levels.length) throw new Error(`${what}: the levels of this model are 0 to ${levels.length - 1}`);
  const { height, width } = levels[level], [y0, x0, y1, x1] = corners ?? [0, 0, 0, 0];
  if (y1 > height || x1 > width)
    throw new Error(`${what}: passes the edge: the feature maps of this level have ${height} rows and ${width} columns`);
  if (!y0 && !x0 && y1 === height && x1 === width) throw new Error(`${what}: has a rectangle that is the whole map`);
}

// Throws an Error where a generator lacks the levels, units, cells or classes that a resolved state edits.
export function fitEdits(state, levels, classes) {
  for (const paste of state.paste) {
    checkPlace(paste, levels, 'paste');
    if (!classes && paste.label !== null) throw new Error('paste: names a label, but the model has no classes; leave it out');
    if (classes && paste.label >= classes) throw new Error(`paste: the labels are 0 to ${classes - 1}`);
  }
  for (const edit of state.units) {
    checkPlace(edit, levels, unitName(edit));
    const { units } = levels[edit.level];
    if (edit.unit >= units) throw new Error(`${unitName(edit)}: level ${edit.level} has the units 0 to ${units - 1}`);
  }
  const own = findOwn(state);
  if (own) throw new Error(`paste: changes nothing, because it is of the image itself: ${formatPaste(own)}`);
}

// The first paste of a resolved state that is of the image itself, and puts back nothing that was changed.
function findOwn({ seed, index, label, to, z, dir, paste, units }) {
  if (to || Object.keys({ ...z, ...dir }).length) return undefined;
  const lowest = Math.min(...[...paste, ...units].map(({ level }) => level));
  return paste.find((one, k) => {
    const isOwn = one.seed === seed && one.index === index && one.label === label;
    return isOwn && lowest === one.level && !paste.slice(0, k).some((before) => overlaps(before.rectangle, one.rectangle));
  });
}

export function leaveOutOwn(state) {
  const own = findOwn(state);
  return own ? leaveOutOwn({ ...state, paste: state.paste.filter((one) => one !== own) }) : state;
}
