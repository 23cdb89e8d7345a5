// Copies texts: a button with data-copy copies that of the element with this id, which is before it.

import { $ } from './elements.mjs';

export async function copy(text, button) {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false), label = button.textContent;
  $('said').textContent = done ? 'Copied' : 'No clipboard without https; copy by hand';
  if (!done && button.previousElementSibling) getSelection().selectAllChildren(button.previousElementSibling);
  button.textContent = done ? 'Copied' : 'Copy by hand';
  button.disabled = true;
  setTimeout(() => { button.textContent = label; button.disabled = false; }, 1500);
}

document.addEventListener('click', ({ target }) => {
  if (target.dataset?.copy) copy($(target.dataset.copy).textContent, target);
});
