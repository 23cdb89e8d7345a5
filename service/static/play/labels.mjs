// The field of a label: a list of the classes, or where the label is continuous, a slider over its values.

import { $, el } from './elements.mjs';

// Where a slider goes from `from` when it is moved to `at`: past the other end's value, with which there is no mixture.
export function passOver(at, from, taken, count) {
  if (at !== taken) return at;
  const next = at + (at < from ? -1 : 1);
  return next >= 0 && next < count ? next : from;
}

// use: called with the number of a class, null where it is left open. The list is there; the slider has ID-value.
export function makeLabelField(id, use) {
  const list = $(id), name = el('span'), value = el('output', { htmlFor: `${id}-value` });
  const slider = el('input', { id: `${id}-value`, type: 'range', min: 0 }), back = el('button', { type: 'button', textContent: 'Put back' });
  const scale = el('div', { className: 'field wide', hidden: true }, el('label', { htmlFor: slider.id }, name, value), el('div', { className: 'scale' }, slider, back));
  let now = null;
  list.parentElement.after(scale);
  list.addEventListener('input', () => use(list.value === '' ? null : Number(list.value)));
  slider.addEventListener('input', () => use(passOver(Number(slider.value), now.shown, now.taken, now.count)));
  for (const [what, goesBack] of [['dblclick', () => true], ['keydown', ({ key }) => ['Delete', 'Backspace'].includes(key)]])
    slider.addEventListener(what, (event) => { if (goesBack(event) && !back.disabled) use(null); });
  back.addEventListener('click', () => use(null));

  // chosen: a class, or null; shown: the one that the image has; open: the word for null; mayBeOpen: whether it may be null;
  // taken: a class that the slider passes over; isOff: whether there is no label to choose.
  const show = ({ chosen, shown, open, mayBeOpen = true, taken = null, isOff = false }, { labels, continuous_label: label = '' }) => {
    now = { shown, taken, count: labels.length };
    list.parentElement.hidden = !labels.length || label !== '';
    scale.hidden = !label;
    list.disabled = slider.disabled = isOff;
    back.disabled = isOff || chosen === null || !mayBeOpen;
    if (!label) return showList(list, labels, { chosen, open, mayBeOpen });
    name.textContent = id === 'label' ? label : `Its ${label}`;
    value.textContent = isOff ? '' : `${labels[shown]}${chosen === null ? `, ${open}` : ''}`;
    Object.assign(slider, { max: labels.length - 1, ariaValueText: value.textContent });
    slider.value = shown;
  };
  return { show };
}

function showList(list, labels, { chosen, open, mayBeOpen }) {
  const options = labels.map((name, k) => el('option', { value: k, textContent: name }));
  list.replaceChildren(el('option', { value: '', textContent: open, disabled: !mayBeOpen }), ...options);
  list.value = chosen ?? '';
}
