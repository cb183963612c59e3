// The API's own description, and a way to try each operation.
import { html, nothing } from './vendor/lit-html.js';
import { ask, get, mayChange, session } from './api.js';
import { command, failed, number, raw, state, text } from './parts.js';

/** Of an answer, characters that are kept; a stream is cut after this time. */
const BODY_MAX = 200_000;
const STREAM_MS = 5000;

let again = null;
let api = null;
let chosen = null;
let answer = null;
let filter = '';

const followed = (value) => (value?.$ref ? value.$ref.slice(2).split('/').reduce((at, part) => at[part.replaceAll('~1', '/')], api) : value);

function operations() {
  return Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => ({ path, method: method.toUpperCase(), ...one })));
}

function example(one) {
  const schema = followed(one.requestBody?.content?.['application/json']?.schema);
  const given = schema?.examples?.[0] ?? schema?.example;
  return given ? JSON.stringify(given, null, 2) : '{}';
}

function asked(form) {
  const values = new FormData(form);
  let { path } = chosen;
  const query = new URLSearchParams();
  const headers = {};
  for (const one of chosen.parameters ?? []) {
    const value = (values.get(`${one.in}.${one.name}`) ?? '').trim();
    if (one.in === 'path') path = path.replace(`{${one.name}}`, encodeURIComponent(value));
    else if (value && one.in === 'query') query.set(one.name, value);
    else if (value) headers[one.name] = value;
  }
  const token = (values.get('token') ?? '').trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  return { path: `${path}${query.size ? `?${query}` : ''}`, headers, body: chosen.requestBody ? values.get('body') : undefined };
}

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

function curl({ path, headers, body }) {
  const shown = Object.entries(headers).filter(([name]) => name !== 'Authorization');
  const parts = ['curl', ...(chosen.method === 'GET' ? [] : ['-X', chosen.method])];
  if (chosen.security || headers.Authorization) parts.push('-H', '"Authorization: Bearer $TOKEN"');
  shown.forEach(([name, value]) => parts.push('-H', quoted(`${name}: ${value}`)));
  if (body !== undefined) parts.push('-H', quoted('Content-Type: application/json'), '-d', quoted(body));
  return [...parts, quoted(location.origin + path)].join(' ');
}

async function read(response, signal) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let all = '';
  try {
    while (reader && all.length < BODY_MAX) {
      const { value, done } = await reader.read();
      if (done) break;
      all += value;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  reader?.cancel().catch(() => {});
  return all;
}

async function send(event) {
  event.preventDefault();
  const request = asked(event.target);
  const started = performance.now();
  try {
    let body;
    if (request.body !== undefined) {
      try {
        body = JSON.parse(request.body);
      } catch (error) {
        throw new Error(`The body is no JSON: ${error.message}`);
      }
    }
    const stop = new AbortController();
    setTimeout(() => stop.abort(), STREAM_MS);
    const response = await ask(chosen.method, request.path, body, { headers: request.headers, signal: stop.signal, cache: 'no-store' });
    let said = await read(response, stop.signal);
    if ((response.headers.get('content-type') ?? '').includes('json')) {
      try { said = JSON.stringify(JSON.parse(said), null, 2); } catch { /* It was cut: it is shown as it came. */ }
    }
    answer = { status: response.status, headers: [...response.headers], body: said, took: performance.now() - started, curl: curl(request) };
  } catch (error) {
    answer = { error };
  }
  again();
}

function field(one) {
  const name = `${one.in}.${one.name}`;
  const choices = one.schema.enum;
  const input = choices ? html`<select name=${name}>${one.required ? nothing : html`<option value=""></option>`}${choices.map((value) => html`<option>${value}</option>`)}</select>`
    : html`<input name=${name} ?required=${one.required} autocomplete="off" placeholder=${one.schema.format ?? one.schema.type ?? ''}>`;
  return html`<label>${one.name} <span class="quiet">${one.in}. ${one.description ?? ''}</span>${input}</label>`;
}

function answered() {
  if (!answer) return nothing;
  if (answer.error) return failed(answer.error);
  return html`<h3>Answer</h3><p role="status">${state(answer.status < 400 ? 'ok' : 'stops', String(answer.status))} in ${number(answer.took, 1)} ms</p>${command(answer.curl)}
    ${raw(answer.headers.map(([name, value]) => `${name}: ${value}`).join('\n'), 'Headers of the answer')}${raw(answer.body || '(no body)', 'Body of the answer')}`;
}

function form() {
  if (!chosen) return html`<p class="quiet">Choose an operation.</p>`;
  const changes = chosen.method !== 'GET';
  const note = changes && !mayChange() ? html`<p>${state('warns', 'changes something')} The console’s own session may not: give a token that may.</p>` : nothing;
  return html`<h2><code>${chosen.method} ${chosen.path}</code></h2><p>${text(chosen.summary)}. ${chosen.security ? 'Needs a token.' : 'Needs no token.'}</p>${note}
    <form @submit=${send}>${(chosen.parameters ?? []).map((one) => field(followed(one)))}
    ${chosen.requestBody ? html`<label>Body, JSON <textarea name="body" rows="8" spellcheck="false" .value=${example(chosen)}></textarea></label>` : nothing}
    ${chosen.security ? html`<label>Token <span class="quiet">${session.signed_in ? 'left out: the one you are signed in with' : 'needed'}</span><input name="token" type="password" autocomplete="off" spellcheck="false"></label>` : nothing}
    <p class="buttons"><button class=${changes ? 'danger' : 'primary'} type="submit">${changes ? `Send ${chosen.method}` : 'Send'}</button></p></form>${answered()}`;
}

function choose(one) {
  [chosen, answer] = [one, null];
  history.replaceState(null, '', `/console/api/${one.operationId}`);
  again();
}

function list() {
  const words = filter.toLowerCase();
  const all = operations().filter((one) => `${one.method} ${one.path} ${one.summary}`.toLowerCase().includes(words));
  return (api.tags ?? []).map((tag) => {
    const of = all.filter((one) => one.tags?.[0] === tag.name);
    if (!of.length) return nothing;
    return html`<h2>${tag.name}</h2><ul class="ops">${of.map((one) => html`<li><button class="op" aria-pressed=${chosen?.operationId === one.operationId} @click=${() => choose(one)}><code>${one.method}</code> <code>${one.path}</code> <span class="quiet">${one.summary}</span></button></li>`)}</ul>`;
  });
}

function view() {
  if (!api) return html`<h1>API</h1><p class="quiet">Loading …</p>`;
  const typed = (event) => { filter = event.target.value; again(); };
  return html`<h1>API</h1><p>${text(api.info.description)}</p><div class="columns api"><div><label>Filter <input type="search" @input=${typed}></label>${list()}</div><div>${form()}</div></div>`;
}

export default {
  title: 'API', view,
  start: async ([id], refresh) => {
    again = refresh;
    api ??= await get('/openapi.json');
    answer = null;
    chosen = operations().find((one) => one.operationId === id) ?? null;
  },
};
