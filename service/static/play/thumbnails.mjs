// A row of small pictures, each a link to its address.

import { formatState } from './address.mjs';
import { el } from './elements.mjs';
import { page } from './page.mjs';
import { keyOf, mint, paint } from './minter.mjs';

// Shows resolved states in a list, one after the other once the page is still. items: [{state, title}].
// pick: called with the link that is clicked and its place in the list; with Ctrl, Shift and the like the browser follows it.
export function makeThumbnails(list, pick) {
  let turn = 0, shown = '';
  list.addEventListener('click', (event) => {
    const item = event.target.closest('li');
    if (!item || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    pick(item.firstChild, [...list.children].indexOf(item));
  });
  const show = async (items, onError) => {
    const mine = ++turn, manifest = page.manifest, key = JSON.stringify(items);
    if (key === shown) return;
    shown = key;
    resize(list, items.length);
    items.forEach(({ state, title }, k) => {
      const link = list.children[k].firstChild;
      link.href = `#${formatState(state)}`;
      link.title = title;
      link.firstChild.ariaLabel = `${title}, ${nameOf(state, manifest) || keyOf(state)}`;
      link.classList.add('waiting');
    });
    try {
      for (const [k, { state }] of items.entries()) {
        const image = await mint(state, manifest, page.apiKey);
        if (mine !== turn) return;
        const link = list.children[k].firstChild;
        paint(link.firstChild, image);
        link.classList.remove('waiting');
      }
    } catch (error) {
      shown = '';
      onError(error);
    }
  };
  return { show, stop() { turn++; shown = ''; } };
}

function resize(list, count) {
  while (list.children.length > count) list.lastChild.remove();
  while (list.children.length < count)
    list.append(el('li', {}, el('a', {}, el('canvas', { width: 1, height: 1, role: 'img' }))));
}

// The class of a resolved state, or both of them, or the values of a continuous label; '' without classes.
export function nameOf({ label, tolabel }, { labels, continuous_label: scale }) {
  const names = [label, tolabel].filter((k) => k !== null).map((k) => labels[k]).join(' and ');
  return scale ? `${scale} ${names}` : names;
}
