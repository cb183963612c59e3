// What failed, and what one does about it.
import { html, nothing } from './vendor/lit-html.js';
import { get, json } from './api.js';
import { act, button, failed, headers, number, plain, raw, state, table, text, time, whyNot } from './parts.js';

let groups = null;
let source = null;
let example = null;
let problem = null;
let again = null;

async function load() {
  try {
    [groups, source] = await Promise.all([get('/api/v1/admin/dlq/groups'), get('/api/v1/admin/cdc')]);
    problem = null;
  } catch (error) {
    problem = error;
  }
  again();
}

const keyOf = (group) => `${group.topic} ${group.stage} ${group.reason}`;

/** Letters whose details are counted, and details that are shown. */
const COUNTED = 1000;
const DETAILS = 20;

/** How often each detail comes in the oldest letters of a group. */
async function detailsOf(group) {
  const [first] = group.ids;
  const { letters } = await get(`/api/v1/admin/dlq?limit=${COUNTED}${first > 0 ? `&after=${first - 1}` : ''}`);
  const mine = letters.filter((letter) => keyOf(letter) === keyOf(group));
  const counts = new Map();
  mine.forEach(({ detail }) => counts.set(detail, (counts.get(detail) ?? 0) + 1));
  return { counts: [...counts].sort(([, a], [, b]) => b - a), letters: mine.length };
}

async function look(group) {
  if (example?.key === keyOf(group)) {
    example = null;
  } else {
    try {
      const [letter, details] = await Promise.all([get(`/api/v1/admin/dlq/${group.example}`), detailsOf(group)]);
      example = { key: keyOf(group), letter, details };
    } catch (error) {
      example = { key: keyOf(group), error };
    }
  }
  again();
}

/** Letters of an answer that are shown one by one. */
const LETTERS = 200;
const MEANS = { applied: 'ok', kept: 'stops', late: 'warns' };

/** How many letters have which outcome, and each letter with its reason. */
function counted(results, caption) {
  const kinds = new Map();
  results.forEach(({ outcome }) => kinds.set(outcome, (kinds.get(outcome) ?? 0) + 1));
  const rows = results.slice(0, LETTERS).map((one) => html`<tr><th scope="row" class="num">${one.id}</th><td>${state(MEANS[one.outcome] ?? 'off', one.outcome)}</td><td>${one.detail ? text(one.detail) : '–'}</td></tr>`);
  return html`<ul>${[...kinds].map(([outcome, count]) => html`<li><strong>${number(count)}</strong> ${outcome}</li>`)}</ul>
    ${table(caption, [['Letter', 'num'], 'Outcome', 'Why'], rows)}${results.length > rows.length ? html`<p class="quiet">${number(results.length - rows.length)} more letters are not shown.</p>` : nothing}`;
}

/** What became of replayed letters: the audit has only those that left the queue. */
function inShort(results) {
  const kept = results.filter(({ outcome }) => outcome === 'kept');
  if (!kept.length) return undefined;
  const why = plain(kept[0].detail ?? '').slice(0, 200);
  return html`Replay dead letters: ${number(kept.length)} of ${number(results.length)} letters were kept${why ? html`; letter ${kept[0].id}: ${text(why)}` : nothing}`;
}

function replay(group) {
  const what = json('POST', '/api/v1/admin/dlq/replay', { ids: group.ids, dry_run: true }).then(({ results }) => html`
    <p>The ${number(group.ids.length)} oldest of ${number(group.letters)} letters of <strong>${text(group.topic)}</strong> (${text(group.reason)}) go through the pipeline again. Nothing is applied yet: this is what would become of each letter now, replayed alone.</p>
    ${counted(results, 'What would become of each letter')}<p>Letters that are “kept” stay here; all others leave the queue. Of several letters about one row or event, the first may make the next one stale or a duplicate.</p>`);
  act({
    title: 'Replay dead letters', what, verb: 'Replay',
    run: async () => {
      const { results } = await json('POST', '/api/v1/admin/dlq/replay', { ids: group.ids });
      // The example may be gone, or counts one more attempt.
      example = null;
      await load();
      return { result: html`<p>What became of them:</p>${counted(results, 'What became of each letter')}`, told: inShort(results) };
    },
  });
}

function discard(group) {
  act({
    title: 'Discard dead letters', verb: 'Discard for ever',
    what: html`<p>The ${number(group.ids.length)} oldest of ${number(group.letters)} letters of <strong>${text(group.topic)}</strong> (${text(group.reason)}) are removed for ever, with their bytes. The reason stands in the audit.</p>`,
    fields: [{ name: 'reason', label: 'Why', required: true }],
    run: async ({ reason }) => {
      await json('POST', '/api/v1/admin/dlq/discard', { ids: group.ids, reason });
      example = null;
      await load();
      return html`<p>${number(group.ids.length)} letters are gone.</p>`;
    },
  });
}

function detailed(group) {
  const { counts, letters } = example.details;
  if (group.letters < 2) return nothing;
  const left = counts.length - DETAILS;
  return html`<h3>Details of ${letters < group.letters ? `${number(letters)} of ${number(group.letters)}` : `all ${number(letters)}`} letters</h3>
    <ul>${counts.slice(0, DETAILS).map(([detail, count]) => html`<li><strong>${number(count)}</strong> ${text(detail)}</li>`)}</ul>
    ${left > 0 ? html`<p class="quiet">${number(left)} more details are not shown.</p>` : nothing}`;
}

function shown(group) {
  if (example.error) return failed(example.error);
  const { letter } = example;
  const part = (name, bytes) => (bytes ? html`<h4>${name}</h4>${raw(bytes.text, name)}` : html`<h4>${name}</h4><p class="quiet">none (null)</p>`);
  return html`${detailed(group)}<h3>Letter ${letter.id}: ${text(letter.topic)}/${letter.partition}, offset ${letter.offset}</h3>
    <p>${text(letter.detail)}</p>
    <dl class="facts"><dt>Arrived</dt><dd>${time(letter.timestamp_ms)}</dd><dt>Put aside</dt><dd>${time(letter.died_at_ms)}</dd>
    <dt>Attempts</dt><dd>${letter.attempts}</dd><dt>Sizes</dt><dd>key ${number(letter.key_bytes)} B, value ${number(letter.value_bytes)} B</dd></dl>
    ${part('Key', letter.key)}${part('Value, private members masked', letter.value)}
    ${headers(letter.headers.map(([name, value]) => ({ name, value })), 4)}`;
}

function rows() {
  return groups.groups.flatMap((group) => {
    const open = example?.key === keyOf(group);
    const row = html`<tr><th scope="row">${text(group.topic)}</th><td>${text(group.stage)}: <strong>${text(group.reason)}</strong><br><span class="quiet">${text(plain(group.detail).slice(0, 200))}</span></td>
      <td class="num">${number(group.letters)}</td><td>${time(group.first_ms)}</td><td>${time(group.last_ms)}</td>
      <td class="buttons"><button aria-expanded=${open} @click=${() => look(group)}>Example</button>${button('Replay …', () => replay(group))}${button('Discard …', () => discard(group), 'danger')}</td></tr>`;
    return open ? [row, html`<tr><td colspan="6" class="inset"><div class="within">${shown(group)}</div></td></tr>`] : [row];
  });
}

function resume(table_, truncate, words) {
  act({
    title: `Go on with ${table_}`, what: html`<p>${words}</p>`, verb: 'Go on',
    run: async () => {
      await json('POST', `/api/v1/admin/cdc/${table_}/resume`, truncate ? { truncate } : {});
      await load();
      return html`<p>The table takes changes again.</p>`;
    },
  });
}

function raise(table_) {
  act({
    title: `Raise the epoch of ${table_}`, verb: 'Raise it',
    what: html`<p>Later changes are taken as newer than all stored ones, as is right after the source’s log began again. The table then goes on.</p>`,
    run: async () => {
      const { epoch } = await json('POST', `/api/v1/admin/cdc/${table_}/epoch`, {});
      await load();
      return html`<p>The epoch is ${epoch}.</p>`;
    },
  });
}

function halted(one) {
  const truncated = /truncat/i.test(one.halted);
  const ways = truncated
    ? html`${button('Delete its rows here too …', () => resume(one.table, 'apply', `The rows of ${one.table} that nova has are deleted, as the source truncated the table.`), 'danger')}
      ${button('Keep its rows …', () => resume(one.table, 'ignore', `The rows of ${one.table} stay as they are; the truncate does nothing here.`))}`
    : html`${button('Go on …', () => resume(one.table, null, `The table goes on with the next record.`))}
      ${button('Raise the epoch …', () => raise(one.table))}`;
  return html`<li class="stops"><p>${state('stops', 'halted')} <strong>${one.table}</strong> ${text(one.halted)}</p><p class="buttons">${ways}</p></li>`;
}

function seek(one) {
  act({
    title: `Go on with ${one.topic}/${one.partition} at another offset`, verb: 'Seek',
    what: html`<p>What lies between is not read. It now stands before offset ${one.next_offset}: ${text(one.held)}</p>`,
    fields: [{ name: 'offset', label: 'First offset to be read', type: 'number', value: one.next_offset + 1, required: true }],
    run: async ({ offset }) => {
      const done = await json('POST', '/api/v1/admin/cdc/seek', { topic: one.topic, partition: one.partition, offset: Number(offset) });
      await load();
      return html`<p>It goes on at ${done.next_offset}.</p>`;
    },
  });
}

/** No table is halted, so there is nothing to resume: the partition is read again where it stands. */
function goOn(one) {
  act({
    title: `Try ${one.topic}/${one.partition} again`, verb: 'Try it again',
    what: html`<p>nova reads the record at offset ${one.next_offset} again. If nothing was repaired, the partition will be held again: ${text(one.held)}</p>`,
    run: async () => {
      const done = await json('POST', '/api/v1/admin/cdc/seek', { topic: one.topic, partition: one.partition, offset: one.next_offset });
      await load();
      return html`<p>It goes on at ${done.next_offset}.</p>`;
    },
  });
}

/** In a log that was made again, the record at the offset is another one: only a person can say where to go on. */
const mayTryAgain = (one) => !one.held.startsWith('log-recreated');

function stands() {
  const tables = source.tables.filter((one) => one.halted);
  const named = (topic) => tables.some((one) => topic.split('.').pop() === one.table);
  const partitions = source.partitions.filter((one) => one.held && !named(one.topic));
  if (!tables.length && !partitions.length) return html`<p>${state('ok', 'No table is halted, and no partition is held.')}</p>`;
  return html`<ul class="findings">${tables.map(halted)}${partitions.map((one) => html`<li class="stops"><p>${state('stops', 'held')} <strong>${text(one.topic)}/${one.partition}</strong> ${text(one.held)}</p>
    <p class="buttons">${mayTryAgain(one) ? button('Try it again …', () => goOn(one)) : nothing}${button('Go on elsewhere …', () => seek(one))}</p></li>`)}</ul>`;
}

function view() {
  if (problem) return html`<h1>Failed</h1>${failed(problem)}`;
  if (!groups) return html`<h1>Failed</h1><p class="quiet">Loading …</p>`;
  const part = groups.counted < groups.total ? html`<p class="quiet">The oldest ${number(groups.counted)} of ${number(groups.total)} letters were looked at.</p>` : nothing;
  return html`<h1>Failed</h1>${whyNot()}
    <section aria-labelledby="h-stand"><h2 id="h-stand">What stands</h2>${stands()}</section>
    <section aria-labelledby="h-dead"><h2 id="h-dead">Dead letters</h2>${part}
    ${table('Dead letters by topic, stage and reason', ['Topic', 'Why', ['letters', 'num'], 'First', 'Last', 'Actions'], rows(), 'There are none.')}
    <p class="buttons"><button @click=${load}>Look again</button></p></section>`;
}

export default {
  title: 'Failed', view,
  start: async (params, refresh) => { again = refresh; [groups, example] = [null, null]; await load(); },
};
