// The feature maps of a level as small heat maps, of which some are chosen, and one of them large over the picture.

import { $, el } from './elements.mjs';
import { readJson } from './service.mjs';

const ABOVE = [0, 163, 122], BELOW = [217, 120, 30]; // colours of values above and below 0
const QUIET = 0.02; // what a map needs of the level's largest value to be drawn at full strength
const grid = $('units');

export function listUnits(level, count) {
  const tiles = Array.from({ length: count }, (_, unit) => {
    const map = el('canvas', { width: 1, height: 1 }), tile = el('button', { type: 'button', tabIndex: unit ? -1 : 0 }, map);
    tile.dataset.unit = unit;
    tile.title = tile.ariaLabel = `unit ${unit}`;
    tile.ariaPressed = 'false';
    map.ariaHidden = 'true';
    return tile;
  });
  grid.replaceChildren(...tiles);
  grid.ariaLabel = `Units of level ${level}`;
  grid.classList.add('numbers');
}

// What the model says of its units (units.json, which `ganmint dissect` writes): resolves to [{unit, concept, iou}] of a
// level, those that agree most with their concepts first; none where the model names none.
export async function readNames({ name, version, files }, level, key) {
  if (!files['units.json']) return [];
  const { levels } = await readJson(`v1/models/${name}/${version}/units.json`, key);
  const { units = [] } = levels.find((one) => one.level === level) ?? {};
  return units.filter(({ concept }) => concept !== null).sort((a, b) => b.iou - a.iou);
}

// names: as readNames has them.
export function nameUnits(names) {
  for (const { unit, concept, iou } of names) {
    const tile = grid.children[unit];
    tile.ariaLabel = `unit ${unit}: ${concept}`;
    tile.title = `${tile.ariaLabel}, IoU ${iou.toFixed(2)}`;
  }
}

// maps: {values: Float32Array of [unit][row][column], height, width, most: the largest absolute value}
export function drawUnits(maps) {
  grid.classList.remove('numbers');
  [...grid.children].forEach((tile, unit) => drawUnit(tile.firstChild, maps, unit));
}

export function drawUnit(canvas, { values, height, width, most }, unit) {
  const size = height * width, map = values.subarray(unit * size, (unit + 1) * size), image = new ImageData(width, height);
  const strongest = map.reduce((max, value) => Math.max(max, Math.abs(value)), QUIET * most) || 1;
  map.forEach((value, k) => image.data.set([...(value > 0 ? ABOVE : BELOW), 255 * Math.abs(value) / strongest], 4 * k));
  Object.assign(canvas, { width, height });
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// chosen, edited: sets of units.
export function markUnits(chosen, edited) {
  for (const tile of grid.children) {
    const unit = Number(tile.dataset.unit);
    tile.ariaPressed = chosen.has(unit);
    tile.classList.toggle('edited', edited.has(unit));
  }
}

// use: called with a unit, and whether it is to be chosen besides others.
export function onUnit(use) {
  grid.addEventListener('click', (event) => {
    const tile = event.target.closest('button');
    if (!tile) return;
    focusTile(tile);
    use(Number(tile.dataset.unit), event.shiftKey || event.ctrlKey || event.metaKey);
  });
}

// One tile is in the order of tabs; arrow keys lead to the others.
function focusTile(tile) {
  for (const other of grid.children) other.tabIndex = other === tile ? 0 : -1;
  tile.focus();
}

grid.addEventListener('keydown', (event) => {
  const tiles = [...grid.children], at = tiles.indexOf(event.target);
  const columns = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!step || at < 0) return;
  event.preventDefault();
  if (tiles[at + step]) focusTile(tiles[at + step]);
});
