// What goes wrong: said above the picture, with a way to try again where that may help.

import { $ } from './elements.mjs';

const tools = $('tools'), box = $('trouble').parentElement, mayPass = ({ status }) => status === 0 || status >= 429;
let left = null; // what had the focus when the controls were disabled

// null: nothing is wrong, or no longer.
export function complain(error) {
  const hadFocus = box.contains(document.activeElement), needsKey = error?.status === 401;
  box.hidden = !error;
  $('trouble').textContent = needsKey ? 'This service asks for an API key that it knows.' : error?.message ?? '';
  $('again').hidden = !error || !mayPass(error);
  if (needsKey) $('key-form').hidden = false;
  $('picture').classList.toggle('stale', !!error);
  if (hadFocus && box.hidden) (left ?? $('picture')).focus();
}

// While no image can be made, the controls are disabled; what had the focus has it again afterwards.
export function disable(error) {
  if (!tools.inert) left = tools.contains(document.activeElement) ? document.activeElement : null;
  tools.inert = true;
  complain(error);
  $('again').hidden = error.status === 401;
  if (left) $('again').focus();
}

export function enable() {
  tools.inert = false;
}
