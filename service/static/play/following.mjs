// The images that follow: the same seed at the next indices.

import { resolveWalked, unmixed } from './address.mjs';
import { MAX } from './address_numbers.mjs';
import { $ } from './elements.mjs';
import { change, onStill, page } from './page.mjs';
import { makeThumbnails } from './thumbnails.mjs';

const COUNT = 12, thumbnails = makeThumbnails($('following-list'), pick);
let first = 1;

// The images after the page's own, with its edits, or with others in their place: [{state, title}]; none after a written latent.
export function listFollowing({ state, manifest }, edits = {}) {
  const { index, latent } = state, start = { ...state, ...unmixed, ...edits };
  const count = latent === null ? Math.min(COUNT, MAX - index) : 0;
  return Array.from({ length: count }, (_, k) => ({
    state: resolveWalked({ ...start, index: index + 1 + k }, manifest), title: `index ${index + 1 + k}`,
  }));
}

onStill((page, onError) => {
  const items = listFollowing(page);
  $('following').hidden = !items.length;
  if (!items.length) return thumbnails.stop();
  first = items[0].state.index;
  thumbnails.show(items, onError);
});

function pick(_, k) {
  const index = first + k, { seed, at } = page.state;
  if ($('as-end').checked) change({ to: { seed, index }, tolabel: null, at: at ?? 0.5 }, 'end');
  else change({ index, ...unmixed }, 'following');
}
