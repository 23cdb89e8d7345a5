// Copies texts: a button with data-copy copies that of the element with this id.

import { $, el } from './elements.mjs';

const MS = 1500, copied = new Set(); // buttons that say so

// Where a page without https has no clipboard, a selection can be copied still.
function copySelected(text) {
  const field = el('textarea', { className: 'said', value: text, readOnly: true }), focused = document.activeElement;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand('copy');
  field.remove();
  focused.focus({ preventScroll: true });
  return isDone;
}

// source: the element that shows the text, which is selected where it can only be copied by hand.
export async function copy(text, button, source = null) {
  const isDone = await navigator.clipboard?.writeText(text).then(() => true, () => false) || copySelected(text);
  $('wrong-copy').textContent = isDone ? '' : `This browser keeps the page from copying: copy ${source ? 'the selected text' : 'the address of this page'} by hand.`;
  if (!isDone) $('wrong-copy').scrollIntoView({ block: 'nearest' });
  if (!isDone && source) getSelection().selectAllChildren(source);
  $('said').textContent = isDone ? 'Copied' : '';
  if (!isDone || copied.has(button)) return;
  const label = button.textContent;
  button.textContent = 'Copied';
  copied.add(button);
  setTimeout(() => { button.textContent = label; copied.delete(button); }, MS);
}

document.addEventListener('click', ({ target }) => {
  const source = $(target.dataset?.copy);
  if (source) copy(source.textContent, target, source);
});
