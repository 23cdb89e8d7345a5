// The page's state is an address (docs/addresses.md), whose label may be left open, with edits behind it.

const MAX = Number.MAX_SAFE_INTEGER, MOST = 16, DECIMAL = /^-?(0|[1-9]\d*)(\.\d{0,3}[1-9])?$/;

function whole(text, what) {
  if (/^(0|[1-9]\d{0,15})$/.test(text) && Number(text) <= MAX) return Number(text);
  throw new Error(`${what}: must be a whole number from 0 to ${MAX}`);
}

function share(text) {
  const value = /^[\d.]+(e-\d{1,3})?$/.test(text) ? Number(text) : NaN;
  if (value > 0 && value <= 1) return value;
  throw new Error('psi: must be above 0 and at most 1');
}

function decimal(text, what) {
  if (DECIMAL.test(text) && text !== '-0' && Math.abs(text) <= MOST) return Number(text);
  throw new Error(`${what}: must be a number from -${MOST} to ${MOST} with at most 4 decimals`);
}

// Text -> {model, version, seed, index, label, psi, z}: label is null where the stream draws it, and z is the
// dimensions that are set, {dimension: value}. Two latents that are mixed, and one that is written out, are not known.
// Throws an Error that names the part at fault.
export function parseState(text) {
  const [path, query = ''] = text.split('?'), parts = path.split('/');
  if (parts.length !== 4) throw new Error('the address must be model/version/seed/index');
  const [model, version, seed, index] = parts;
  const state = { model, version, seed: whole(seed, 'seed'), index: whole(index, 'index'), label: null, psi: 1, z: {} };
  for (const part of query.split('&').filter(Boolean)) {
    const [key, value = ''] = part.split('='), dimension = key.match(/^z(0|[1-9]\d{0,5})$/);
    if (key === 'label') state.label = whole(value, 'label');
    else if (key === 'psi') state.psi = share(value);
    else if (dimension) state.z[dimension[1]] = decimal(value, key);
    else throw new Error(`${key}: this page cannot show an address with this part`);
  }
  return state;
}

// The canonical text: label, psi, then the moved dimensions in their order.
export function formatState({ model, version, seed, index, label, psi, z = {} }) {
  const query = [];
  if (label !== null) query.push(`label=${label}`);
  if (psi !== 1) query.push(`psi=${psi}`);
  for (const k of Object.keys(z).sort((a, b) => a - b)) query.push(`z${k}=${z[k]}`);
  return `${model}/${version}/${seed}/${index}${query.length ? '?' : ''}${query.join('&')}`;
}
