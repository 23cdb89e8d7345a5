// What a model says of its units: units.json, which `ganmint dissect` writes.

import { readJson } from './service.mjs';

// Resolves to [{unit, concept, iou}] of a level, those that agree most with their concepts first; none where the model
// names none.
export async function readNames({ name, version, files }, level, key) {
  if (!files['units.json']) return [];
  const { levels } = await readJson(`v1/models/${name}/${version}/units.json`, key);
  const { units = [] } = levels.find((one) => one.level === level) ?? {};
  return units.filter(({ concept }) => concept !== null).sort((a, b) => b.iou - a.iou);
}
