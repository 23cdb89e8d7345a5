// The edits of feature maps that the image has: each a button that takes it back.

import { describeRectangle } from './brush.mjs';
import { $, el } from './elements.mjs';
import { change, onChange } from './page.mjs';

const list = $('chips');
const where = (corners) => (corners ? describeRectangle(corners) : 'everywhere');

const describePaste = ({ level, seed, index, rectangle }) =>
  `Level ${level} from seed ${seed}, index ${index}: ${where(rectangle)}`;

function describeUnits([{ level, unit, value, rectangle }, ...more]) {
  const units = more.length ? `${more.length + 1} units` : `unit ${unit}`;
  return `Level ${level}, ${units} ${value ? `set to ${value}` : 'erased'}: ${where(rectangle)}`;
}

// Units that are set to one value in one place belong together.
function groupUnits(units) {
  const groups = new Map();
  for (const one of units) {
    const key = JSON.stringify([one.level, one.value, one.rectangle]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups.values()];
}

function listEdits({ paste, units }) { // [{text, parts: what the state is without it}]
  const pastes = paste.map((one) => ({ text: describePaste(one), parts: { paste: paste.filter((other) => other !== one) } }));
  const groups = groupUnits(units).map((group) => ({
    text: describeUnits(group), parts: { units: units.filter((one) => !group.includes(one)) },
  }));
  return [...pastes, ...groups];
}

onChange(({ state }) => {
  const edits = listEdits(state), all = { text: 'Clear all', parts: { paste: [], units: [] } };
  const hadFocus = list.contains(document.activeElement);
  list.hidden = !edits.length;
  list.replaceChildren(...(edits.length > 1 ? [...edits, all] : edits).map(makeChip));
  if (hadFocus) (list.querySelector('button') ?? $('picture')).focus();
});

function makeChip({ text, parts }) {
  const chip = el('button', { type: 'button', ariaLabel: `Take back: ${text}` }, text, el('span', { textContent: '×', ariaHidden: 'true' }));
  chip.addEventListener('click', () => change(parts, `chip ${text}`));
  return el('li', {}, chip);
}
