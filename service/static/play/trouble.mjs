// What goes wrong: said above the picture, with a way to try again where that may help, or beside what was asked for.

import { $ } from './elements.mjs';

const tools = $('tools'), box = $('trouble').parentElement, mayPass = ({ status }) => status === 0 || status >= 429;
let left = null; // what had the focus when the controls were disabled

// null: nothing is wrong, or no longer. isStale: whether the picture is not what the controls say.
export function complain(error, isStale = false) {
  const hadFocus = box.contains(document.activeElement), needsKey = error?.status === 401;
  box.hidden = !error;
  $('trouble').textContent = needsKey ? 'This service asks for an API key that it knows.' : error?.message ?? '';
  $('again').hidden = !error || !mayPass(error);
  if (needsKey) $('key-form').hidden = false;
  if (isStale) $('picture').classList.add('stale');
  if (hadFocus && box.hidden) (left ?? $('picture')).focus();
}

// While no image can be made, the controls are disabled; what had the focus has it again afterwards.
export function disable(error) {
  if (!tools.inert) left = tools.contains(document.activeElement) ? document.activeElement : null;
  tools.inert = true;
  complain(error, true);
  $('again').hidden = error.status === 401;
  if (left) $('again').focus();
}

export function enable() {
  tools.inert = false;
  for (const place of document.querySelectorAll('.wrong')) place.textContent = '';
}

// Runs what the user asked for besides the picture; what goes wrong is said in the place with this id, until the image changes.
export async function attempt(id, action) {
  $(id).textContent = '';
  try {
    await action();
  } catch (error) {
    $(id).textContent = error.message;
    $(id).scrollIntoView({ block: 'nearest' });
  }
}
