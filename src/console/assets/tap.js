// What arrives now, one record a line. The newest are above; while somebody is in the list, it stands still.
import { html, nothing } from './vendor/lit-html.js';
import { events } from './api.js';
import { bytes, failed, headers, number, postLink, raw, state, table, text, time, userLink } from './parts.js';

/** Records that are kept: the page's memory is flat. */
const KEPT = 200;
const DRAW_MS = 500;
const OUTCOMES = ['applied', 'duplicate', 'stale', 'ignored', 'late', 'dead'];
const TOPICS = ['users', 'posts', 'follows', 'comments', 'likes', 'events'];
const ID = '([0-9a-fA-F]|-){32,36}';

let again = null;
/** All that are kept, and those that the list shows. */
let records = [];
let shown = [];
let open = null;
let paused = false;
/** The focus or the mouse is in the list: what somebody is about to choose must not move away. */
let held = { focus: false, mouse: false };
let left = 0;
let problem = null;
let running = null;
let due = null;
let filter = { topic: '', outcome: '', user_id: '', post_id: '', raw: '1' };
let count = 0;

const stands = () => open !== null || held.focus || held.mouse;

function take(event, data) {
  if (event !== 'record' || paused) return;
  const record = JSON.parse(data);
  count += 1;
  left += record.left_out;
  records = [{ ...record, number: count }, ...records.slice(0, KEPT - 1)];
  due ??= setTimeout(draw, DRAW_MS);
}

function draw() {
  clearTimeout(due);
  due = null;
  if (!stands()) shown = records;
  again();
}

function listen() {
  running?.abort();
  running = null;
  if (document.hidden) return;
  problem = null;
  running = new AbortController();
  const { signal } = running;
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  events(`/api/v1/admin/tap?${query}`, signal, take).then(() => { throw new Error('The stream ended.'); }).catch((error) => {
    if (signal.aborted) return;
    running = null;
    problem = error;
    again();
  });
}

function restart() {
  listen();
  again();
}

function chosen(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  filter = Object.fromEntries(Object.keys(filter).map((name) => [name, (form.get(name) ?? '').trim()]));
  [records, shown, open, left] = [[], [], null, 0];
  restart();
}

function pause() {
  paused = !paused;
  draw();
}

function show(record) {
  open = open?.number === record.number ? null : record;
  draw();
}

function hold(name, value) {
  held = { ...held, [name]: value };
  draw();
}

/** Of the list: where the focus and the mouse are. Both leave it for good only when they are outside. */
const within = {
  focusin: () => { if (!held.focus) hold('focus', true); },
  focusout: (event) => { if (!event.currentTarget.contains(event.relatedTarget)) hold('focus', false); },
  enter: (event) => { if (event.pointerType === 'mouse') hold('mouse', true); },
  leave: () => { if (held.mouse) hold('mouse', false); },
};

const STATE = { applied: 'ok', duplicate: 'off', stale: 'off', ignored: 'off', late: 'warns', dead: 'stops' };

function what(record) {
  if (record.kind === 'event') return html`${record.action} of ${postLink(record.post_id)} by ${userLink(record.user_id)}`;
  if (record.kind === 'change') {
    const key = record.table === 'users' ? userLink(record.key) : record.table === 'posts' ? postLink(record.key) : html`<code>${record.key.slice(0, 8)}…</code>`;
    return html`${record.op} in ${record.table}: ${key}`;
  }
  return text(record.kind);
}

/** Members that have a place of their own below. */
const APART = ['number', 'left_out', 'raw', 'version', 'effect', 'timestamp_ms'];

function part(name, one) {
  if (!one) return html`<h3>${name}</h3><p class="quiet">none (null)</p>`;
  const size = one.cut ? `the beginning of ${bytes(one.bytes)}` : bytes(one.bytes);
  return html`<h3>${name} <span class="quiet">${size}${one.base64 ? ', no text (UTF-8)' : ''}</span></h3>${raw(one.text, name)}
    ${one.base64 ? html`<details><summary>In Base64</summary>${raw(one.base64, `${name} in Base64`)}</details>` : nothing}`;
}

function itself(one) {
  if (!one) return html`<p class="quiet">The record’s bytes were not asked for.</p>`;
  const list = one.headers.map(({ name, value }) => ({ name, value: value.text, cut: value.cut, base64: value.base64 }));
  return html`${part('Key', one.key)}${part('Value, private members masked', one.value)}
    ${headers(list)}
    ${one.headers_left_out ? html`<p class="quiet">${number(one.headers_left_out)} more headers are not shown.</p>` : nothing}`;
}

function details(record) {
  const facts = Object.entries(record).filter(([name, value]) => value !== null && value !== '' && !APART.includes(name));
  const { version } = record;
  const dead = record.outcome === 'dead' ? html`<p><a href="/console/failed">To the dead letters</a></p>` : nothing;
  return html`<h2>Decoded to</h2><dl class="facts"><dt>arrived</dt><dd>${time(record.timestamp_ms)}</dd>
    ${facts.map(([name, value]) => html`<dt>${name.replaceAll('_', ' ')}</dt><dd>${text(value)}</dd>`)}
    ${version ? html`<dt>version</dt><dd>epoch ${version.epoch}, LSN ${version.lsn ?? 'none'}, offset ${version.offset}</dd>` : nothing}
    <dt>effect</dt><dd>${text(record.effect || 'none')}</dd></dl>${dead}<h2>The record</h2>${itself(record.raw)}`;
}

function rows() {
  return shown.flatMap((record) => {
    const here = open?.number === record.number;
    const row = html`<tr><td>${time(record.timestamp_ms)}</td><td>${text(record.topic)}</td><td>${state(STATE[record.outcome] ?? 'off', record.outcome)}</td><td>${what(record)}</td><td>${text(record.effect || '–')}</td>
      <td><button class="small" aria-expanded=${here} @click=${() => show(record)}>Record<span class="hidden"> ${record.topic}/${record.partition}, offset ${record.offset}</span></button></td></tr>`;
    return here ? [row, html`<tr><td colspan="6" class="inset"><div class="within">${details(record)}</div></td></tr>`] : [row];
  });
}

const choice = (name, label, values) => html`<label>${label} <select name=${name}><option value="">all</option>${values.map((value) => html`<option ?selected=${filter[name] === value}>${value}</option>`)}</select></label>`;
const id = (name, label) => html`<label>${label} <input name=${name} .value=${filter[name]} pattern=${ID} title="An id, as 921cad1a-b3e2-5377-a326-6b2c8273740b" placeholder="id" autocomplete="off" spellcheck="false"></label>`;

function words() {
  if (paused) return 'Paused: what comes is not kept.';
  const since = records.length && shown.length ? records[0].number - shown[0].number : 0;
  return stands() ? `The list stands still while you are in it; ${number(since)} came since.` : 'Listening.';
}

function view() {
  return html`<h1>Live</h1><form class="inline" @submit=${chosen}>${choice('topic', 'Topic', TOPICS)}${choice('outcome', 'Outcome', OUTCOMES)}${id('user_id', 'User')}${id('post_id', 'Post')}
    <label class="check"><input type="checkbox" name="raw" value="1" ?checked=${filter.raw === '1'}> With the records’ bytes</label>
    <span class="buttons"><button type="submit" class="primary">Filter</button><button type="button" aria-pressed=${paused} @click=${pause}>Pause</button></span></form>
    ${problem ? html`${failed(problem)}<p><button @click=${restart}>Listen again</button></p>` : html`<p class="quiet">${words()} The last ${KEPT} records are kept${left ? html`; ${number(left)} more came than are told` : nothing}.</p>`}
    <div @focusin=${within.focusin} @focusout=${within.focusout} @pointerenter=${within.enter} @pointerleave=${within.leave}>
    ${table('Records as they are committed', ['Arrived', 'Topic', 'Outcome', 'What', 'Effect', 'Details'], rows(), problem ? '' : 'Nothing arrived yet.')}</div>`;
}

function followed() {
  if (document.hidden || !running) restart();
}

export default {
  title: 'Live', view,
  start: (params, refresh) => {
    again = refresh;
    [records, shown, open, paused, problem, left] = [[], [], null, false, null, 0];
    held = { focus: false, mouse: false };
    document.addEventListener('visibilitychange', followed);
    listen();
  },
  stop: () => {
    document.removeEventListener('visibilitychange', followed);
    running?.abort();
    running = null;
    clearTimeout(due);
    due = null;
  },
};
