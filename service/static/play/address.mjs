// Addresses (docs/addresses.md). The page's state is one, whose labels may be left open.

import { decimal, decimalWithin, place, whole } from './address_numbers.mjs';
import { decodeLatent, drawLabel } from './latents.mjs';
import {
  checkEdits, fitEdits, formatPaste, formatUnit, leaveOutOwn, listLevels, parsePaste, parseUnit, parseUnitName, sortPastes, sortUnits, unitName,
} from './level_edits.mjs';

const MOST = 16, MAX_DIRECTIONS = 16, MAX_LENGTH = 2048, MAX_NAME = 120;

// What an address without edits leaves out.
export const unmixed = { to: null, tolabel: null, at: null };
export const unedited = { z: {}, dir: {}, paste: [], units: [] };

function truncation(text, what) {
  const value = /^\d*\.?\d+(e-\d{1,3})?$/.test(text) ? Number(text) : NaN;
  if (value > 0 && value <= 1) return value;
  throw new Error(`${what}: must be above 0 and at most 1`);
}

function share(text, what) {
  const value = decimal(text, what);
  if (value > 0 && value < 1) return value;
  throw new Error(`${what}: must be above 0 and below 1, with at most 4 decimals`);
}

function classNumber(text, what) {
  if (/^\d+$/.test(text)) return whole(text, what);
  throw new Error(`${what}: must be the number of a class, such as 3`);
}

const PARSERS = { label: classNumber, psi: truncation, to: place, tolabel: classNumber, at: share };

// Text -> {model, version, seed, index, latent, label, psi, to, tolabel, at, z, dir, paste, units}. What an address leaves out
// is null; psi is then 1. latent is base64url, and seed and index are null beside it; to is {seed, index}; z is the
// dimensions that are set, {dimension: value}, and dir how far it is moved along directions, {name: value}; paste and
// units are as level_edits.mjs has them, in canonical order.
// Throws an Error that names the part at fault.
export function parseState(text) {
  if (text.length > MAX_LENGTH) throw new Error(`address: has more than ${MAX_LENGTH} characters`);
  const [, model, version, seed, index, query] = text.match(/^([^/?]+)\/([^/?]+)\/([^/?]+)\/([^/?]+)(?:\?([^?]+))?$/) ?? [];
  if (!model) throw new Error('address: must be model/version/seed/index or model/version/z/LATENT');
  const start = seed === 'z' ? { seed: null, index: null, latent: index } : { seed: whole(seed, 'seed'), index: whole(index, 'index'), latent: null };
  const state = { model, version, ...start, label: null, psi: 1, ...unmixed, z: {}, dir: {}, paste: [], units: [] };
  const seen = new Set();
  for (const part of query?.split('&') ?? []) {
    const [, key, value] = part.match(/^([^=]*)=(.*)$/) ?? [], dimension = key?.match(/^z(0|[1-9]\d{0,5})$/);
    const direction = key?.match(/^dir\.([a-z](?:[a-z0-9_-]{0,30}[a-z0-9])?)$/), unit = parseUnitName(key ?? '');
    const isKnown = dimension || direction || unit || key === 'paste' || Object.hasOwn(PARSERS, key);
    if (!isKnown) throw new Error(`address: has the part ${part}, which this page does not know`);
    if (seen.has(key) && key !== 'paste') throw new Error(`${key}: is given twice`);
    seen.add(key);
    if (dimension) state.z[dimension[1]] = decimalWithin(value, MOST, key);
    else if (direction) state.dir[direction[1]] = decimalWithin(value, MOST, key);
    else if (unit) state.units.push(parseUnit(unit, value));
    else if (key === 'paste') state.paste.push(parsePaste(value));
    else state[key] = PARSERS[key](value, key);
  }
  const sorted = { ...state, paste: sortPastes(state.paste), units: sortUnits(state.units) };
  checkParts(sorted);
  return sorted;
}

function checkParts(state) {
  const { latent, label, to, tolabel, at, z } = state;
  if (formatState(state).length > MAX_LENGTH) throw new Error(`address: has more than ${MAX_LENGTH} characters`);
  checkDirections(state);
  checkEdits(state);
  if (latent !== null) decodeLatent(latent);
  if (latent !== null && Object.keys(z).length) throw new Error(`z${Object.keys(z)[0]}: changes a latent that is written out; write the value into it`);
  if (!to && tolabel !== null) throw new Error('tolabel: is of no use without to=SEED.INDEX');
  if (!to && at !== null) throw new Error('at: is of no use without to=SEED.INDEX');
  if (!to) return;
  if (at === null) throw new Error('at: is missing: the share of the second latent, such as 0.5');
  if (tolabel !== null && tolabel === label) throw new Error('tolabel: changes nothing, because it equals label; leave it out');
  if (isItself(state) && tolabel === null) throw new Error('to: changes nothing, because it is the seed and the index of the address itself');
}

function checkDirections({ dir }) {
  const names = Object.keys(dir), still = names.find((name) => dir[name] === 0);
  if (names.length > MAX_DIRECTIONS) throw new Error(`directions: are ${names.length}; an address moves along at most ${MAX_DIRECTIONS}`);
  if (still) throw new Error(`dir.${still}: changes nothing, because it is 0; leave it out`);
}

// Whether both ends of a mixture are one latent, of which only the classes are mixed.
export const isItself = ({ seed, index, to }) => to?.seed === seed && to?.index === index;

// As Python writes floats: the shortest digits, and an exponent of two digits below 0.0001.
const formatPsi = (psi) => (psi < 1e-4 ? psi.toExponential().replace(/-(\d)$/, '-0$1') : `${psi}`);

// The canonical text.
export function formatState({ model, version, seed, index, latent, label, psi, to, tolabel, at, z, dir, paste, units }) {
  const query = [];
  if (label !== null) query.push(`label=${label}`);
  if (psi !== 1) query.push(`psi=${formatPsi(psi)}`);
  if (to) query.push(`to=${to.seed}.${to.index}`);
  if (tolabel !== null) query.push(`tolabel=${tolabel}`);
  if (at !== null) query.push(`at=${at}`);
  for (const k of Object.keys(z).sort((a, b) => a - b)) query.push(`z${k}=${z[k]}`);
  for (const name of Object.keys(dir).sort()) query.push(`dir.${name}=${dir[name]}`);
  query.push(...paste.map((one) => `paste=${formatPaste(one)}`), ...units.map((one) => `${unitName(one)}=${formatUnit(one)}`));
  const start = latent === null ? `${seed}/${index}` : `z/${latent}`;
  return `${model}/${version}/${start}${query.length ? '?' : ''}${query.join('&')}`;
}

// FNV-1a, in 8 hexadecimal digits.
const hashOf = (text) => ([...text].reduce((hash, character) => Math.imul(hash ^ character.charCodeAt(0), 16777619), 2166136261) >>> 0)
  .toString(16).padStart(8, '0');

// The name of the image's file, as `ganmint sample` makes it: the whole address, or the hash of one that is too long.
export function formatFileName(state) {
  const address = formatState(state), name = address.replace(/[/?&]/g, '_');
  return `${name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}-${hashOf(address)}` : name}.png`;
}

// The state with its labels resolved, if it is one of the manifest's; throws an Error that names the part at fault.
export const resolve = (state, manifest) => checkResolved(resolveLabels(state, manifest), manifest);

// The same without pastes of the image itself, which change nothing: whoever walks through images with a paste meets its source.
export const resolveWalked = (state, manifest) => checkResolved(leaveOutOwn(resolveLabels(state, manifest)), manifest);

function checkResolved(resolved, { schema_version: schema, labels, network }) {
  if (resolved.tolabel !== null && schema === 1) throw new Error('tolabel: this model is of schema 1 and cannot mix classes');
  checkParts(resolved);
  if (!resolved.paste.length && !resolved.units.length) return resolved;
  const part = resolved.paste.length ? 'paste' : 'units';
  if (schema === 1) throw new Error(`${part}: this model is of schema 1, whose feature maps cannot be edited`);
  fitEdits(resolved, listLevels(network.network), labels.length);
  return resolved;
}

function checkFit(state, { labels, truncation: hasTruncation, directions = [], latents: { z_dim: zDim } }) {
  const { latent, psi, z, dir } = state, unknown = Object.keys(dir).sort().find((name) => !directions.includes(name));
  const beyond = Object.keys(z).find((k) => k >= zDim);
  if (psi !== 1 && !hasTruncation) throw new Error('psi: this model takes no psi other than 1');
  if (beyond) throw new Error(`z${beyond}: the dimensions of a latent are 0 to ${zDim - 1}`);
  if (unknown) throw new Error(`dir.${unknown}: the directions of this model are: ${directions.join(', ') || 'none'}`);
  const size = latent === null ? zDim : decodeLatent(latent).length;
  if (size !== zDim) throw new Error(`latent: has ${size} numbers; a latent of this model has ${zDim}`);
  for (const what of ['label', 'tolabel'])
    if (state[what] !== null && state[what] >= labels.length)
      throw new Error(`${what}: ${labels.length ? `must be 0 to ${labels.length - 1}` : 'this model has no classes'}`);
}

function resolveLabels(state, manifest) {
  const { labels: { length: classes }, latents: { z_dim: zDim } } = manifest;
  checkFit(state, manifest);
  if (!classes) return state;
  const { seed, index, latent, to } = state, draw = (from) => drawLabel(from.seed, from.index, zDim, classes);
  if (latent !== null && state.label === null) throw new Error('label: is missing, because a written latent has no stream to draw one from');
  const label = state.label ?? draw({ seed, index });
  let { tolabel } = state;
  if (to && tolabel === null && state.label === null) tolabel = draw(to);
  if (tolabel === label) tolabel = null;
  return { ...state, label, tolabel, paste: state.paste.map((one) => ({ ...one, label: one.label ?? draw(one) })) };
}
