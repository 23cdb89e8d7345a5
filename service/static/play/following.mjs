// The images that follow: the same seed at the next indices.

import { resolve, unedited, unmixed } from './address.mjs';
import { MAX } from './address_numbers.mjs';
import { $ } from './elements.mjs';
import { change, onStill, page } from './page.mjs';
import { makeThumbnails } from './thumbnails.mjs';

const COUNT = 12, list = $('following-list'), thumbnails = makeThumbnails(list);
let first = 1;

onStill(({ state, manifest }, onError) => {
  const { index, label } = state, isWritten = state.latent !== null;
  $('following').hidden = isWritten || index === MAX;
  if ($('following').hidden) return thumbnails.stop();
  first = index + 1;
  const count = Math.min(COUNT, MAX - index), plain = { ...state, ...unmixed, ...unedited, label };
  thumbnails.show(Array.from({ length: count }, (_, k) => ({
    state: resolve({ ...plain, index: first + k }, manifest), title: `index ${first + k}`,
  })), onError);
});

list.addEventListener('click', (event) => {
  const item = event.target.closest('li');
  if (!item || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const index = first + [...list.children].indexOf(item), { seed, at } = page.state;
  if ($('as-end').checked) change({ to: { seed, index }, tolabel: null, at: at ?? 0.5 }, 'end');
  else change({ index, ...unedited, ...unmixed }, 'following');
});
