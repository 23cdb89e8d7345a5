// A list of sliders, one for each number that an address may have; Delete, or a double click, puts one back.

import { el } from './elements.mjs';

// move: called with the name of the part in an address and its value, null where it is put back.
export function makeSliders(list, step, move) {
  const putBack = ({ target }) => { if (target.type === 'range') move(target.name, null); };
  list.addEventListener('input', ({ target: { name, value } }) => move(name, Number(value) + 0)); // + 0: no -0
  list.addEventListener('dblclick', putBack);
  list.addEventListener('keydown', (event) => { if (['Delete', 'Backspace'].includes(event.key)) putBack(event); });
  const offer = (names) => list.replaceChildren(...names.map((name) => {
    const id = name.replace('.', '-'), slider = el('input', { id, name, type: 'range', min: -4, max: 4, step });
    return el('div', {}, el('label', { htmlFor: id }, name.replace('dir.', ''), el('output', { htmlFor: id })), slider);
  }));
  const show = (k, value, isMoved, source) => {
    const [label, slider] = list.children[k].children;
    label.classList.toggle('moved', isMoved);
    label.lastChild.textContent = value.toFixed(2);
    if (source !== slider.name || !isMoved) slider.value = value;
  };
  return { offer, show };
}
