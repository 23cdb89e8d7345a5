// Numbers in an address: each has one text.

export const MAX = Number.MAX_SAFE_INTEGER;
export const DECIMAL = /^(?!-0$)-?(0|[1-9]\d{0,5})(\.\d{0,3}[1-9])?$/;

// what: the part's name, for the Error of a text that is no such number.
export function whole(text, what) {
  if (/^(0|[1-9]\d{0,15})$/.test(text) && Number(text) <= MAX) return Number(text);
  throw new Error(`${what}: must be a whole number from 0 to ${MAX}`);
}

export function place(text, what) {
  const [seed, index, ...rest] = text.split('.');
  if (index === undefined || rest.length) throw new Error(`${what}: must be SEED.INDEX such as 7.0`);
  return { seed: whole(seed, what), index: whole(index, what) };
}
