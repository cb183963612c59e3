// Requests to the node. Each carries the console's own header: without it the cookie is worth nothing.

/** A request that was refused: the status, and what the problem (RFC 9457) says. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Who is signed in, as /console/session tells; replaced as a whole. */
export let session = { signed_in: false, user_id: null, admin: false, console: 'read' };

export const mayChange = () => session.admin && session.console === 'full';

const HEADERS = { 'X-Nova-Console': '1' };

/** The answer itself; network failures are Refused with status 0. */
export async function ask(method, path, body, more = {}) {
  const headers = { ...HEADERS, ...more.headers };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  try {
    return await fetch(path, {
      method, headers, signal: more.signal, cache: more.cache, credentials: 'same-origin',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'nova does not answer');
  }
}

async function refusal(answer) {
  let detail = answer.statusText;
  try {
    const problem = await answer.json();
    detail = problem.detail || problem.message || detail;
  } catch { /* The body is no problem document; the status says enough. */ }
  if (answer.status === 429) detail = `${detail} (asked too often: try again in a moment)`;
  return new Refused(answer.status, detail);
}

/** The JSON of an answer; null of one without a body. Throws Refused. */
export async function json(method, path, body, more) {
  const answer = await ask(method, path, body, more);
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, more) => json('GET', path, undefined, more);

export async function whoami() {
  session = await get('/console/session');
  return session;
}

/** Exchanges a token for the cookie. The token is not kept here. */
export async function signIn(token) {
  session = await json('POST', '/console/session', undefined, { headers: { Authorization: `Bearer ${token}` } });
  return session;
}

export async function signOut() {
  session = await json('DELETE', '/console/session');
  return session;
}

/** Server-sent events over fetch, which unlike EventSource can carry a header. Calls `told(event, data)` until `signal` aborts. */
export async function events(path, signal, told, more = {}) {
  const answer = await ask('GET', path, undefined, { ...more, signal });
  if (!answer.ok) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const lines = rest.slice(0, end).split('\n');
      rest = rest.slice(end + 2);
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      told(field('event') ?? 'ping', field('data'));
    }
  }
}
