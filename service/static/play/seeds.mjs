// Seeds and indices from fields, and seeds from texts.

import { parseState } from './address.mjs';
import { MAX } from './address_numbers.mjs';
import { page } from './page.mjs';
import { call } from './service.mjs';
import { complain } from './trouble.mjs';

const MAX_TEXT = 256;

// The seed of a text: the first 53 bits of the SHA-256 of its NFC in UTF-8, as service/text_seeds.py has it.
async function seedOfText(text) {
  const normal = text.normalize('NFC');
  if ([...normal].length > MAX_TEXT) throw new Error(`a text has at most ${MAX_TEXT} characters`);
  if (crypto.subtle) {
    const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(normal));
    return Number(new DataView(hash).getBigUint64(0) >> 11n);
  }
  // Browsers hash only pages of https or localhost.
  const answer = await call(`v1/of/${page.state.model}/${encodeURIComponent(normal)}.png`, { key: page.apiKey });
  return parseState(answer.headers.get('Ganmint-Address')).seed;
}

const latest = new Map();

// The number in a field, or with `mayBeText` the seed of its text; null where it is wrong, which the page then says, no
// longer what the field has, or where the field is empty, because something will be typed.
export async function readInteger(field, mayBeText) {
  const text = field.value.trim(), turn = (latest.get(field) ?? 0) + 1;
  latest.set(field, turn);
  field.ariaInvalid = text ? null : 'true';
  if (!text) return null;
  try {
    const isWhole = /^\d+$/.test(text) && Number(text) <= MAX;
    if (!isWhole && !mayBeText) throw new Error(`must be a whole number from 0 to ${MAX}`);
    const value = isWhole ? Number(text) : await seedOfText(text);
    return latest.get(field) === turn ? value : null;
  } catch (error) {
    field.ariaInvalid = 'true';
    complain(new Error(`${field.id.replace('to-', 'end ')}: ${error.message}`), true);
    return null;
  }
}
