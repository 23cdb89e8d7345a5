// The section that verifies a picture: drop a file, and the service tells whether it is what its addresses mint.

import { el } from './elements.mjs';
import { BASE, call, imagePath } from './service.mjs';

const RESULTS = {
  identical: 'Yes: identical', same_pixels: 'Yes: the same pixels', close: 'Yes: within rounding', altered: 'Altered',
  another_image: 'Not what it says: another image', no_marks: 'Unknown: it names no address', unknown_model: 'Unknown: its model is not here',
};
const BAD = ['altered', 'another_image'], LISTED = 6, WIDTH = 312;

function makePicture(src, alt, caption, { width, height }) {
  const wide = width > WIDTH ? WIDTH : Math.floor(WIDTH / width) * width, image = el('img', { src, alt, width: wide, height: wide * height / width });
  return el('figure', { className: width < WIDTH ? 'crisp' : '' }, image, el('figcaption', { textContent: caption }));
}

const readUrl = (file) => new Promise((done, fail) => {
  const reader = Object.assign(new FileReader(), { onload: () => done(reader.result), onerror: () => fail(new Error('cannot be read')) });
  reader.readAsDataURL(file);
});

// Fills the section; getKey returns the API key, '' without one.
export function showVerify(section, getKey = () => '') {
  const field = el('input', { type: 'file', id: 'file', accept: 'image/png,image/jpeg,image/webp' });
  const drop = el('div', { className: 'drop', id: 'drop' },
    el('label', { htmlFor: 'file', textContent: 'Drop a PNG, JPEG or WebP file here, or choose one' }), field);
  const result = el('p', { id: 'result' }), detail = el('p', { id: 'detail' }), pictures = el('div', { id: 'pictures' });
  const marks = el('ul', { id: 'marks', ariaLabel: 'Addresses in the picture' }), answer = el('div', { id: 'answer' }, result, detail);
  answer.setAttribute('role', 'status');
  section.append(el('h2', { id: 'check-title', textContent: 'Is this picture ours?' }), el('p', { textContent:
    'The addresses in a picture are minted again, and its pixels are compared with them. The picture goes to this service only, and is not kept.' }),
  drop, answer, marks, pictures);
  let checks = 0;

  const say = (what, more, isBad = false) => {
    result.textContent = what;
    result.className = isBad ? 'bad' : '';
    detail.textContent = more;
  };

  const showWithKey = async (event, address) => { // a link carries no key, so the image comes to this page
    if (!getKey()) return;
    event.preventDefault();
    const mine = checks;
    try {
      const file = await (await call(imagePath(address), { key: getKey() })).blob(), size = await createImageBitmap(file), source = await readUrl(file);
      if (mine === checks) pictures.append(makePicture(source, address, address, size));
    } catch (error) {
      if (mine === checks) say('Not shown', `${address}: ${error.message}`, true);
    }
  };

  const showMarks = ({ addresses, changed_addresses: changed, result: found }) => {
    const listed = changed.length ? changed : addresses, isHere = found !== 'unknown_model';
    const link = (address) => el('a', { href: BASE + imagePath(address), textContent: address, onclick: (event) => showWithKey(event, address) });
    marks.append(...listed.slice(0, LISTED).map((address) => el('li', {}, isHere ? link(address) : address)));
    if (listed.length > LISTED) marks.append(el('li', { textContent: `and ${listed.length - LISTED} more` }));
  };

  const check = async (file) => { // a later check overtakes an earlier one
    const mine = ++checks, headers = { 'Content-Type': 'application/octet-stream', Accept: 'application/json' };
    pictures.replaceChildren();
    marks.replaceChildren();
    say('', `Checking ${file.name}`);
    try {
      const asked = call('v1/verify', { method: 'POST', headers, body: file, key: getKey() }).then((response) => response.json());
      const [found, source] = await Promise.all([asked, readUrl(file)]);
      if (mine !== checks) return;
      say(RESULTS[found.result] ?? found.result, `${file.name}: ${found.detail}`, BAD.includes(found.result));
      showMarks(found);
      pictures.append(makePicture(source, 'the file', 'The file', found));
      if (found.difference) pictures.append(makePicture(`data:image/png;base64,${found.difference}`, 'its changed pixels',
        'Its changed pixels, red to yellow: the brighter, the more they differ', found));
    } catch (error) {
      if (mine === checks) say('Not checked', `${file.name}: ${error.message.replace(/^body: /, '')}`, true);
    }
    if (mine === checks) section.scrollIntoView({ block: section.offsetHeight > innerHeight ? 'start' : 'nearest' });
  };

  for (const type of ['dragover', 'dragleave', 'drop']) addEventListener(type, (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault(); // or the browser leaves the page for the file, wherever it is dropped
    drop.classList.toggle('over', type === 'dragover' || (type === 'dragleave' && event.relatedTarget !== null));
    if (type !== 'drop' || !event.dataTransfer.files.length) return;
    section.scrollIntoView();
    field.files = event.dataTransfer.files; // shows its name
    check(event.dataTransfer.files[0]);
  });
  field.addEventListener('click', () => { field.value = ''; }); // the same file may be chosen again
  field.addEventListener('change', () => { if (field.files.length) check(field.files[0]); });
}
