// Numbers in an address: each has one text. Seeds by chance.

export const MAX = Number.MAX_SAFE_INTEGER;
const DECIMAL = /^(?!-0$)-?(0|[1-9]\d{0,5})(\.\d{0,3}[1-9])?$/;

// what: the part's name, for the Error of a text that is no such number.
export function whole(text, what) {
  if (/^(0|[1-9]\d{0,15})$/.test(text) && Number(text) <= MAX) return Number(text);
  throw new Error(`${what}: must be a whole number from 0 to ${MAX}`);
}

export function decimal(text, what) {
  if (DECIMAL.test(text)) return Number(text);
  const said = `a number such as 0.25 with at most 4 decimals and no zeros at its end, got '${text.slice(0, 40)}'`;
  throw new Error(`${what}: must be ${said}`);
}

// most: also of its negative.
export function decimalWithin(text, most, what) {
  const value = decimal(text, what);
  if (Math.abs(value) <= most) return value;
  throw new Error(`${what}: must be from -${most} to ${most}, with at most 4 decimals`);
}

export function place(text, what) {
  const [seed, index, ...rest] = text.split('.');
  if (index === undefined || rest.length) throw new Error(`${what}: must be SEED.INDEX such as 7.0`);
  return { seed: whole(seed, what), index: whole(index, what) };
}

export function makeSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high % 2 ** 21) * 2 ** 32 + low;
}
