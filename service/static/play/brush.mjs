// A rectangle on the picture, in cells of a grid that lies over it: drawn and moved by a pointer or by keys.

import { $ } from './elements.mjs';

const frame = $('frame'), box = $('rectangle'), listeners = [];
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
let grid = null, corners = null, drag = null; // grid: [rows, columns]; null: the brush is put away

// Called with the rectangle [y0, x0, y1, x1] when the user changed it, null when he took it away.
export const onBrush = (listener) => listeners.push(listener);

export const getRectangle = () => corners;

export const describeRectangle = ([y0, x0, y1, x1]) =>
  `row${y1 - y0 > 1 ? `s ${y0} to ${y1 - 1}` : ` ${y0}`}, column${x1 - x0 > 1 ? `s ${x0} to ${x1 - 1}` : ` ${x0}`}`;

// Lays another grid over the picture, of a level's {height, width} in cells; the rectangle stays where it is, in whole cells.
export function setGrid(level) {
  const next = level && [level.height, level.width];
  if (corners && next && grid) corners = corners.map((at, k) => Math[k < 2 ? 'floor' : 'ceil'](at * next[k % 2] / grid[k % 2]));
  grid = next;
  show();
}

export function setRectangle(next) {
  corners = next;
  show();
  for (const listener of listeners) listener(corners);
}

// A quarter of the picture, in its middle.
export const makeRectangle = () =>
  [...grid.map((cells) => Math.floor(cells / 4)), ...grid.map((cells) => Math.ceil(3 * cells / 4))];

function show() {
  frame.classList.toggle('brushing', Boolean(grid));
  box.hidden = !grid || !corners;
  if (box.hidden) return;
  const [top, left, bottom, right] = corners.map((at, k) => 100 * at / grid[k % 2]), unit = '%';
  Object.assign(box.style, { top: top + unit, left: left + unit, height: bottom - top + unit, width: right - left + unit });
  box.ariaLabel = `Rectangle: ${describeRectangle(corners)}. Arrow keys move it, with Shift they resize it, Delete takes it away.`;
}

function move([y0, x0, y1, x1], [down, right]) {
  const [height, width] = grid, dy = Math.min(height - y1, Math.max(-y0, down)), dx = Math.min(width - x1, Math.max(-x0, right));
  setRectangle([y0 + dy, x0 + dx, y1 + dy, x1 + dx]);
}

function resize([y0, x0, y1, x1], [down, right]) {
  const fit = (cells, low, at) => Math.min(cells, Math.max(low + 1, at));
  setRectangle([y0, x0, fit(grid[0], y0, y1 + down), fit(grid[1], x0, x1 + right)]);
}

function findCell({ clientX, clientY }) {
  const { left, top, width, height } = frame.getBoundingClientRect();
  const cell = (cells, at, size) => Math.min(cells - 1, Math.max(0, Math.floor(cells * at / size)));
  return [cell(grid[0], clientY - top, height), cell(grid[1], clientX - left, width)];
}

function draw([y, x], [toY, toX]) {
  setRectangle([Math.min(y, toY), Math.min(x, toX), Math.max(y, toY) + 1, Math.max(x, toX) + 1]);
}

frame.addEventListener('pointerdown', (event) => {
  if (!grid || event.button) return;
  event.preventDefault();
  drag = { cell: findCell(event), rectangle: event.target === box ? corners : null };
  frame.setPointerCapture(event.pointerId);
  if (!drag.rectangle) draw(drag.cell, drag.cell);
});
frame.addEventListener('pointermove', (event) => {
  if (!drag) return;
  const cell = findCell(event), [y, x] = drag.cell;
  if (drag.rectangle) move(drag.rectangle, [cell[0] - y, cell[1] - x]); else draw(drag.cell, cell);
});
for (const end of ['pointerup', 'pointercancel']) frame.addEventListener(end, () => {
  if (drag) box.focus({ preventScroll: true });
  drag = null;
});
box.addEventListener('keydown', (event) => {
  const step = STEPS[event.key];
  if (step) (event.shiftKey ? resize : move)(corners, step);
  else if (['Delete', 'Backspace', 'Escape'].includes(event.key)) setRectangle(null);
  else return;
  event.preventDefault();
});
