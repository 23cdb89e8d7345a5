// Pastes the rectangle from another image: one of those that follow, or one whose address is typed.

import { parseState, resolve, unedited } from './address.mjs';
import { place } from './address_numbers.mjs';
import { getRectangle, makeRectangle, setRectangle } from './brush.mjs';
import { getLevel } from './editing.mjs';
import { $ } from './elements.mjs';
import { listFollowing } from './following.mjs';
import { addPaste, contains, formatPaste, overlaps } from './level_edits.mjs';
import { keyOf } from './minter.mjs';
import { change, onChange, onStill, page } from './page.mjs';
import { makeThumbnails } from './thumbnails.mjs';
import { attempt, complain } from './trouble.mjs';

const panel = $('edits'), list = $('sources'), note = $('paste-note'),
  thumbnails = makeThumbnails(list, ({ hash }) => attempt('wrong-paste', () => paste({ ...readSource(hash), label: page.state.label })));

function showSources(onError) {
  const items = panel.open && !panel.hidden ? listFollowing(page, unedited) : [];
  list.hidden = !items.length;
  if (items.length) thumbnails.show(items, onError); else thumbnails.stop();
}

onStill((_, onError) => showSources(onError));
panel.addEventListener('toggle', () => showSources(complain));

// Units are set after pastes: those inside the rectangle would leave nothing of it, so they are taken back.
async function paste({ seed, index, label }) {
  const { state, resolved, manifest } = page, rectangle = getRectangle() ?? makeRectangle();
  const one = { level: getLevel(), seed, index, label, rectangle };
  resolve({ ...resolved, paste: addPaste(resolved.paste, one) }, manifest); // refuses one that changes nothing
  if (!getRectangle()) setRectangle(rectangle);
  const under = state.units.filter((unit) => unit.level === one.level && (!unit.rectangle || overlaps(rectangle, unit.rectangle)));
  const taken = under.filter((unit) => unit.rectangle && contains(rectangle, unit.rectangle)), kept = under.length - taken.length;
  await change({ paste: addPaste(state.paste, one), units: state.units.filter((unit) => !taken.includes(unit)) }, formatPaste(one));
  note.textContent = (taken.length ? `Edited units taken back: ${taken.length}. ` : '')
    + (kept ? `Kept, as they are edited outside the rectangle, too: ${kept}; buttons below the picture take them back.` : '');
  if (note.textContent) note.scrollIntoView({ block: 'nearest' });
}

onChange(() => { note.textContent = ''; });

// SEED.INDEX, an address, or a link to this page -> {seed, index, label}
function readSource(text) {
  const { state } = page, what = 'paste from';
  if (/^\d+\.\d+$/.test(text)) return { ...place(text, what), label: state.label };
  const address = decodeURIComponent(text.replace(/^.*#/, ''));
  if (!/^([^/]+\/){3}[^/]+$/.test(address)) throw new Error(`${what}: must be SEED.INDEX such as 7.0, or an address such as ${keyOf(state)}/7/0`);
  const source = parseState(address);
  if (keyOf(source) !== keyOf(state)) throw new Error(`${what}: must be of ${keyOf(state)}, and not of ${keyOf(source)}`);
  const hasEdits = source.to || Object.keys({ ...source.z, ...source.dir }).length || source.paste.length || source.units.length;
  if (source.latent !== null || hasEdits) throw new Error(`${what}: must be an address with seed and index and without edits`);
  if (source.psi !== state.psi) throw new Error(`${what}: must have the psi of this image, ${state.psi}`);
  return source;
}

$('paste-form').addEventListener('submit', (event) => {
  event.preventDefault();
  attempt('wrong-paste', () => paste(readSource($('source').value.trim())));
});
