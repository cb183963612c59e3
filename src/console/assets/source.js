// Where changes come from, and what goes to ClickHouse.
import { html, nothing } from './vendor/lit-html.js';
import { json } from './api.js';
import { live } from './live.js';
import { act, button, bytes, command, number, seconds, state, table, text, whyNot } from './parts.js';

function slot(one) {
  const sent = one.sent_lsn ? [['Sent by the server', one.sent_lsn]] : [];
  const rows = [['State', text(one.state)], ['End of the server’s log', one.server_lsn], ...sent, ['Received', one.received_lsn], ['Committed here', one.committed_lsn], ['Acknowledged', one.told_lsn],
    ['Behind', bytes(one.lag_bytes)], ['Held back at the server', bytes(one.held_bytes)], ['Left before the slot is given up', one.safe_bytes === null || one.safe_bytes === undefined ? 'no limit' : bytes(one.safe_bytes)]];
  return html`${one.reason ? html`<p>${state('stops')} ${text(one.reason)}</p>` : nothing}<dl class="facts">${rows.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

function snapshot(one) {
  const part = one.estimated_rows ? `${number(one.rows)} of about ${number(one.estimated_rows)} rows` : `${number(one.rows)} rows`;
  return html`<p>${state('warns', 'a snapshot is read')} ${one.table || 'it begins'}: ${part}, ${number(one.rows_per_s)} rows/s${one.left_s === null || one.left_s === undefined ? nothing : html`, ${seconds(one.left_s)} left`}</p>
    ${one.estimated_rows ? html`<progress max=${one.estimated_rows} value=${Math.min(one.rows, one.estimated_rows)} aria-label="Snapshot"></progress>` : nothing}`;
}

function pause(name) {
  act({
    title: `Halt ${name}`, verb: 'Halt', what: html`<p>nova takes no more changes of ${name} until it is resumed on the page <a href="/console/failed">Failed</a>. Nothing is lost: they wait at the source.</p>`,
    run: async () => {
      await json('POST', `/api/v1/admin/cdc/${name}/pause`, {});
      return html`<p>${name} is halted.</p>`;
    },
  });
}

function compare() {
  act({
    title: 'Compare with ClickHouse', verb: 'Compare', what: html`<p>The stored rows are compared with ClickHouse’s. It may take minutes, and changes nothing.</p>`,
    run: async () => {
      const found = await json('POST', '/api/v1/admin/compare', {});
      // The head of a long answer is sent before nova knows whether it can make the answer.
      if (found.failed) throw new Error(found.failed);
      if (!found.findings.length) return html`<p>Nothing differs; ${number(found.changing_hours)} hours changed meanwhile.</p>`;
      return html`<ul>${found.findings.map((one) => html`<li><strong>${one.code}</strong> ${text(one.detail)}; ${text(one.remedy)}</li>`)}</ul>`;
    },
  });
}

function partitions(now) {
  const rows = now.partitions.map((one) => html`<tr><th scope="row">${text(one.topic)}</th><td class="num">${one.partition}</td><td class="num">${number(one.next_offset)}</td><td class="num">${number(one.lag_records)}</td><td class="num">${seconds(one.lag_s)}</td>
    <td>${one.held ? html`${state('stops', 'stands')} ${text(one.held)}` : state('ok', 'read')}</td></tr>`);
  const heads = ['Topic', ['partition', 'num'], ['next offset', 'num'], ['behind, records', 'num'], ['behind', 'num'], 'State'];
  return html`${table('Partitions, and how far each is read', heads, rows, 'No partition yet.')}${now.partitions_left_out ? html`<p class="quiet">${number(now.partitions_left_out)} more that are read are not shown.</p>` : nothing}`;
}

function outbox(now) {
  if (!now.outbox) return html`<p class="quiet">clickhouse.url is not set: nothing goes to ClickHouse.</p>`;
  const rows = now.tables.map((one) => html`<tr><th scope="row">${one.table}</th><td class="num">${number(one.emitted)}</td><td class="num">= ${number(one.acknowledged)}</td><td class="num">+ ${number(one.dead)}</td><td class="num">+ ${number(one.waiting_rows)}</td><td class="num">${bytes(one.waiting_bytes)}</td><td class="num">${seconds(one.oldest_s)}</td><td>${one.stalled ? state('stops', 'takes no rows') : state('ok', 'takes rows')}</td></tr>`);
  const heads = ['Table', ['emitted', 'num'], ['acknowledged', 'num'], ['dead', 'num'], ['waiting', 'num'], ['bytes', 'num'], ['oldest', 'num'], 'State'];
  return html`${now.outbox.full ? html`<p>${state('stops', 'full')} Consumption waits for ClickHouse.</p>` : nothing}${table('Outbox by table', heads, rows)}<p class="buttons">${button('Compare with ClickHouse …', compare)}</p>`;
}

function view() {
  const now = live.overview;
  if (!now?.stages) return html`<h1>Source and warehouse</h1><p class="quiet">Waiting for the first figures …</p>`;
  const found = now.findings.filter((one) => ['source', 'outbox', 'clickhouse'].includes(one.stage));
  const tables = ['users', 'posts', 'follows', 'comments', 'likes'];
  return html`<h1>Source and warehouse</h1>${whyNot()}
    <p>${text(now.source.kind)}: ${text(now.source.state)}${now.source.detail ? html`, ${text(now.source.detail)}` : nothing}; ${seconds(now.source.lag_s)} behind</p>
    ${found.length ? html`<ul class="findings">${found.map((one) => html`<li class=${one.state}><p>${state(one.state)} ${text(one.reason)}</p>${one.commands.map(command)}</li>`)}</ul>` : html`<p>${state('ok', 'Nothing is wrong at the source or in ClickHouse.')}</p>`}
    ${now.snapshot ? snapshot(now.snapshot) : nothing}
    ${now.slot ? html`<section aria-labelledby="h-slot"><h2 id="h-slot">Slot</h2>${slot(now.slot)}</section>` : nothing}
    <section aria-labelledby="h-part"><h2 id="h-part">Partitions</h2>${partitions(now)}<p class="buttons">${tables.map((name) => button(`Halt ${name} …`, () => pause(name), 'small'))}</p></section>
    <section aria-labelledby="h-out"><h2 id="h-out">Outbox</h2>${outbox(now)}</section>
    <section aria-labelledby="h-break"><h2 id="h-break">Breakers</h2>${table('What nova asks over the network', ['Of', 'State'], now.breakers.map((one) => html`<tr><th scope="row">${one.target}</th><td>${state(one.state)}</td></tr>`))}</section>`;
}

export default { title: 'Source', view, live: true };
