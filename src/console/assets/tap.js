// What arrives now, one record a line. The newest are above; while somebody reads one, the list stands still.
import { html, nothing } from './vendor/lit-html.js';
import { events } from './api.js';
import { failed, number, postLink, state, table, text, time, userLink } from './parts.js';

/** Records that are kept: the page's memory is flat. */
const KEPT = 200;
const DRAW_MS = 500;
const OUTCOMES = ['applied', 'duplicate', 'stale', 'ignored', 'late', 'dead'];
const TOPICS = ['users', 'posts', 'follows', 'comments', 'likes', 'events'];

let again = null;
let records = [];
let open = null;
let paused = false;
let left = 0;
let problem = null;
let running = null;
let due = null;
let filter = { topic: '', outcome: '', user_id: '' };
let count = 0;

function take(event, data) {
  if (event !== 'record' || paused) return;
  const record = JSON.parse(data);
  count += 1;
  left += record.left_out;
  records = [{ ...record, number: count }, ...records.slice(0, KEPT - 1)];
  due ??= setTimeout(() => { due = null; again(); }, DRAW_MS);
}

function listen() {
  running?.abort();
  running = null;
  if (document.hidden) return;
  running = new AbortController();
  const { signal } = running;
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  events(`/api/v1/admin/tap?${query}`, signal, take).then(() => { throw new Error('the stream ended'); }).catch((error) => {
    if (signal.aborted) return;
    problem = error;
    again();
  });
}

function chosen(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  filter = Object.fromEntries(['topic', 'outcome', 'user_id'].map((name) => [name, form.get(name).trim()]));
  [records, open, problem, left] = [[], null, null, 0];
  listen();
  again();
}

function pause() {
  paused = !paused;
  again();
}

function show(record) {
  open = open?.number === record.number ? null : record;
  paused = open !== null;
  again();
}

const STATE = { applied: 'ok', duplicate: 'off', stale: 'off', ignored: 'off', late: 'warns', dead: 'stops' };

function what(record) {
  if (record.kind === 'event') return html`${record.action} of ${postLink(record.post_id)} by ${userLink(record.user_id)}`;
  if (record.kind === 'change') {
    const key = record.table === 'users' ? userLink(record.key) : record.table === 'posts' ? postLink(record.key) : html`<code>${record.key.slice(0, 8)}…</code>`;
    return html`${record.op} in ${record.table}: ${key}`;
  }
  return text(record.kind);
}

function details(record) {
  const facts = Object.entries(record).filter(([name, value]) => value !== null && value !== '' && name !== 'number' && name !== 'left_out');
  const last = (name, value) => (name === 'timestamp_ms' ? time(value) : text(value));
  const dead = record.outcome === 'dead' ? html`<p><a href="/console/failed">To the dead letters</a></p>` : nothing;
  return html`<dl class="facts">${facts.map(([name, value]) => html`<dt>${name.replaceAll('_', ' ')}</dt><dd>${last(name, value)}</dd>`)}</dl>${dead}`;
}

function rows() {
  return records.flatMap((record) => {
    const here = open?.number === record.number;
    const row = html`<tr><td>${time(record.timestamp_ms)}</td><td>${text(record.topic)}</td><td>${state(STATE[record.outcome] ?? 'off', record.outcome)}</td><td>${what(record)}</td><td>${text(record.effect || '–')}</td>
      <td><button class="small" aria-expanded=${here} @click=${() => show(record)}>Record</button></td></tr>`;
    return here ? [row, html`<tr><td colspan="6" class="inset">${details(record)}</td></tr>`] : [row];
  });
}

const choice = (name, label, values) => html`<label>${label} <select name=${name}><option value="">all</option>${values.map((value) => html`<option ?selected=${filter[name] === value}>${value}</option>`)}</select></label>`;

function view() {
  return html`<h1>Live</h1><form class="inline" @submit=${chosen}>${choice('topic', 'Topic', TOPICS)}${choice('outcome', 'Outcome', OUTCOMES)}
    <label>User <input name="user_id" .value=${filter.user_id} pattern="([0-9a-fA-F]|-){32,36}" placeholder="id"></label><button type="submit" class="primary">Filter</button><button type="button" @click=${pause}>${paused ? 'Go on' : 'Pause'}</button></form>
    ${problem ? failed(problem) : html`<p class="quiet">${paused ? 'Paused: what comes is not kept.' : 'Listening.'} The last ${KEPT} records are kept${left ? html`; ${number(left)} more came than are told` : nothing}.</p>`}
    ${table('Records as they are committed', ['Arrived', 'Topic', 'Outcome', 'What', 'Effect', 'Details'], rows(), problem ? '' : 'Nothing arrived yet.')}`;
}

function followed() {
  if (document.hidden || !running) listen();
}

export default {
  title: 'Live', view,
  start: (params, refresh) => {
    again = refresh;
    [records, open, paused, problem, left] = [[], null, false, null, 0];
    document.addEventListener('visibilitychange', followed);
    listen();
  },
  stop: () => {
    document.removeEventListener('visibilitychange', followed);
    running?.abort();
    clearTimeout(due);
    due = null;
  },
};
