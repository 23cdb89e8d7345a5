// Requests to the service that the page came from.

export const BASE = new URL('../', import.meta.url).href;

// The path of a permanent image, below BASE.
export const imagePath = (address) => `v1/images/${address.replace(/(?=\?)|$/, '.png')}`;

// Returns a good Response; throws an Error in the service's words, with its `status`, 0 without a response. key: an API key.
export async function call(path, { key = '', headers = {}, ...options } = {}) {
  const withKey = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  const answer = await fetch(BASE + path, { ...options, headers: withKey })
    .catch(() => { throw Object.assign(new Error('The service could not be reached.'), { status: 0 }); });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null), wait = answer.headers.get('Retry-After');
  const said = problem?.errors?.map(({ field, message }) => `${field}: ${message}`).join('; ') || problem?.detail;
  const again = /^\d+$/.test(wait) ? ` Try again in ${wait} s.` : '';
  const message = `${said ?? `The service responded ${answer.status} ${answer.statusText}.`}${again}`;
  throw Object.assign(new Error(message), { status: answer.status });
}
