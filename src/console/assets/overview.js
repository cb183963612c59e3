// Is it healthy, and what happens now.
import { html, nothing } from './vendor/lit-html.js';
import { live } from './live.js';
import { draw, figure, forget } from './plot.js';
import { bar, bytes, command, number, seconds, state, table, text, time } from './parts.js';

const rate = (value) => `${number(value, 1)}/s`;
const ms = (value) => (value === null || value === undefined ? '–' : `${number(value, 1)} ms`);
const short = (value) => bytes(value).replace('.0 ', ' ');

const PLOTS = [
  { id: 'records', title: 'Records', gauges: [['records_per_s', rate, 'taken']] },
  { id: 'lag', title: 'Lag behind the source', gauges: [['lag_s', (s) => `${number(s, 1)} s`, 'oldest']] },
  { id: 'commit', title: 'Time of a commit', gauges: [['commit_p99_ms', ms, 'p99'], ['commit_p50_ms', ms, 'p50']] },
  { id: 'requests', title: 'Requests', gauges: [['requests_per_s', rate, 'all'], ['refused_per_s', rate, 'refused']] },
  { id: 'memory', title: 'Memory', gauges: [['memory_bytes', bytes, 'structures']], unit: short },
  { id: 'dead', title: 'Dead letters', gauges: [['dead_letters', number, 'wait']] },
  { id: 'outbox', title: 'Rows for ClickHouse', gauges: [['outbox_rows', number, 'wait']], needs: 'outbox' },
  { id: 'held', title: 'Log held at PostgreSQL', gauges: [['held_wal_bytes', bytes, 'held']], unit: short, needs: 'slot' },
];

export const NAMES = { source: 'Source', decode: 'Decode', writer: 'Writer', memory: 'Memory', outbox: 'Outbox', clickhouse: 'ClickHouse' };
const WHERE = { source: '/console/source', decode: '/console/failed', outbox: '/console/source', clickhouse: '/console/source', writer: '/console/system/store', memory: '/console/system/jobs' };
const OUTCOMES = ['applied', 'duplicate', 'stale', 'ignored', 'late', 'dead'];

function findings(all) {
  if (!all.length) return html`<p>${state('ok', 'Nothing needs you.')}</p>`;
  return html`<ul class="findings">${all.map((one) => html`<li class=${one.state}>
    <p>${state(one.state)} <strong><a href=${WHERE[one.stage]}>${NAMES[one.stage]}</a></strong> ${text(one.reason)}</p>
    ${one.commands.map(command)}</li>`)}</ul>`;
}

/** What cannot come over the stream: that nova itself does not answer. */
function lost() {
  if (!live.lost) return nothing;
  const age = live.at ? `What stands below is ${seconds((performance.now() - live.at) / 1000)} old.` : 'Nothing came from it yet.';
  return html`<ul class="findings"><li class="stops"><p>${state('stops')} <strong>nova does not answer.</strong> ${age} If the process has ended, its last log lines say why; then start it again.</p>
    ${['nova status', 'nova serve'].map(command)}</li></ul>`;
}

function pipeline(stages) {
  return html`<ol class="pipe">${stages.map((one) => html`<li class=${one.state}><a href=${WHERE[one.stage]}>${NAMES[one.stage]}</a>
    ${state(one.state)}<span class="figure">${one.figure}</span></li>`)}</ol>`;
}

function accounting(topics) {
  const rows = topics.map((one) => {
    const sum = OUTCOMES.reduce((all, name) => all + one[name], 0);
    return html`<tr><th scope="row">${text(one.topic)}</th><td class="num">${number(one.consumed)}</td>
      ${OUTCOMES.map((name, at) => html`<td class="num">${at ? '+ ' : '= '}${number(one[name])}</td>`)}
      <td>${sum === one.consumed ? state('ok', 'adds up') : state('stops', `${number(one.consumed - sum)} missing`)}</td></tr>`;
  });
  const heads = ['Topic', ['consumed', 'num'], ...OUTCOMES.map((name) => [name, 'num']), 'sum'];
  return table('Records by topic and what became of them, since the store was made', heads, rows, 'No record came yet.');
}

function requests(classes) {
  const rows = classes.map((one) => html`<tr><th scope="row">${one.class}</th><td class="num">${number(one.per_s)}/s</td>
    <td class="num">${number(one.granted)}</td><td class="num">${number(one.over_quota)}</td><td class="num">${number(one.shed)}</td></tr>`);
  return table('Requests by class, since the start', ['Class', ['each may', 'num'], ['granted', 'num'], ['over quota', 'num'], ['shed', 'num']], rows);
}

function memory(all) {
  const most = Math.max(1, ...all.map((one) => one.bytes));
  const sorted = [...all].sort((a, b) => b.bytes - a.bytes);
  const rows = sorted.map((one) => html`<tr><th scope="row">${one.structure}</th><td class="num">${bytes(one.bytes)}</td>
    <td class="wide">${bar([['bytes', one.bytes]], most, bytes(one.bytes))}</td></tr>`);
  return table('Memory by structure', ['Structure', ['takes', 'num'], 'of the largest'], rows);
}

function store(now) {
  const { backup, disk, runs_out: out } = now;
  const made = backup ? html`${time(backup.made_at)}, verified ${time(backup.verified_at)}
    ${backup.verify_failed ? state('stops', 'the last verification failed') : nothing}` : 'none yet';
  const left = (one) => (one.left_s === null || one.left_s === undefined ? 'comes no nearer' : `in ${seconds(one.left_s)} as it goes now`);
  return html`<dl class="facts"><dt>Store</dt><dd>${bytes(disk.store_bytes)}, ${bytes(disk.free_bytes)} free on its disk</dd>
    <dt>Check of its pages</dt><dd>${state(now.store_check === 'damaged' ? 'stops' : 'ok', now.store_check)}</dd>
    <dt>Backup</dt><dd>${made}</dd>
    ${out.map((one) => html`<dt>Until the ${text(one.what)} is used up</dt><dd>${one.unit === 'bytes' ? bytes(one.left) : `${number(one.left)} records`}, ${left(one)}</dd>`)}
    <dt>Feed pages</dt><dd>${number(now.feeds)}, ${number(now.feed_hit_rate * 100, 1)} % from a snapshot that was there</dd></dl>`;
}

function view() {
  const now = live.overview;
  if (!now?.stages) return html`<h1>Overview</h1>${lost()}<p class="quiet">Waiting for the first figures …</p>`;
  const plots = PLOTS.filter((plot) => !plot.needs || now[plot.needs]);
  const ready = now.status === 'ready' ? state('ok', 'ready') : state('stops', 'not ready');
  return html`<h1>Overview</h1>
    <p class="lead">${ready} <span>nova ${now.version}, up ${seconds(now.uptime_s)}, since ${time(now.started_at)}</span></p>
    <section aria-labelledby="h-find"><h2 id="h-find">What needs you</h2>${lost()}${live.lost && !now.findings.length ? nothing : findings(now.findings)}</section>
    <section aria-labelledby="h-pipe"><h2 id="h-pipe">Pipeline</h2>${pipeline(now.stages)}</section>
    <section aria-labelledby="h-plots"><h2 id="h-plots">Ten minutes, times in UTC</h2><div class="plots">${plots.map(figure)}</div></section>
    <section aria-labelledby="h-sum"><h2 id="h-sum">Accounting</h2>${accounting(now.topics)}</section>
    <div class="columns"><section aria-labelledby="h-req"><h2 id="h-req">Requests</h2>${requests(now.requests)}</section>
    <section aria-labelledby="h-mem"><h2 id="h-mem">Memory</h2>${memory(now.memory)}</section></div>
    <section aria-labelledby="h-store"><h2 id="h-store">Store</h2>${store(now)}</section>`;
}

export default { title: 'Overview', view, live: true, drawn: () => draw(PLOTS), stop: forget };
