// The node itself: jobs, limits, cache, keys, revocations, audit, configuration, store. Each has a link of its own.
import { html, nothing } from './vendor/lit-html.js';
import { get, json } from './api.js';
import { live } from './live.js';
import { act, button, bytes, failed, number, seconds, state, table, text, time, whyNot } from './parts.js';

const AUDIT = 100;

let again = null;
let section = 'jobs';
let found = null;
let problem = null;

const SECTIONS = {
  jobs: ['Jobs', null, jobs],
  limits: ['Limits', () => get('/api/v1/admin/limits'), limits],
  cache: ['Cache', null, cache],
  keys: ['Keys', () => keySet(), keys],
  revocations: ['Revocations', () => get('/api/v1/admin/revocations?limit=200'), revocations],
  audit: ['Audit', () => audit(), entries],
  config: ['Configuration', () => get('/api/v1/admin/config'), config],
  store: ['Store and backups', () => get('/api/v1/admin/store/verify'), store],
};

async function load() {
  const loads = SECTIONS[section][1];
  [found, problem] = [null, null];
  try {
    if (loads) found = await loads();
  } catch (error) {
    problem = error;
  }
  again();
}

/** The key set is on the API's listener; where the console has another one, it is not in reach. */
async function keySet() {
  try {
    return await get('/.well-known/jwks.json');
  } catch (error) {
    if (error.status === 404) return { keys: null };
    throw error;
  }
}

/** The newest entries first. */
async function audit() {
  const { entries: last } = await get(`/api/v1/admin/audit?newest=1&limit=${AUDIT}`);
  return last.reverse();
}

function jobs() {
  const now = live.overview;
  if (!now?.jobs) return html`<p class="quiet">Waiting for the first figures …</p>`;
  const bad = (one) => ['error', 'timeout', 'panic'].reduce((all, name) => all + (one.results[name] ?? 0), 0);
  const rows = now.jobs.map((one) => html`<tr><th scope="row">${one.job}</th><td>${one.parked ? html`${state('warns', 'keeps failing')} ${text(one.parked)}` : state('ok')}</td><td class="num">${number(one.results.ok)}</td><td class="num">${number(bad(one))}</td><td class="num">${number(one.results.away)}</td><td class="num">${number(one.p50_ms, 1)} ms</td><td class="num">${number(one.p99_ms, 1)} ms</td></tr>`);
  return table('Jobs, since the start', ['Job', 'State', ['ok', 'num'], ['failed', 'num'], ['away', 'num'], ['p50', 'num'], ['p99', 'num']], rows);
}

function limits() {
  const rows = found.classes.map((one) => html`<tr><th scope="row">${one.class}</th><td class="num">${number(one.per_s)}</td><td class="num">${number(one.granted)}</td><td class="num">${number(one.over_quota)}</td><td class="num">${number(one.shed)}</td></tr>`);
  return html`<p>${found.enabled ? state('ok', 'on') : state('off', 'off')} ${number(found.callers)} callers are remembered; ${number(found.health.factor * 100)} % of each rate is granted; a commit takes ${number(found.health.commit_ms, 1)} ms.</p>
    ${table('Quotas and decisions, since the start', ['Class', ['a second', 'num'], ['granted', 'num'], ['over quota', 'num'], ['shed', 'num']], rows)}`;
}

function cache() {
  const now = live.overview;
  if (!now?.jobs) return nothing;
  const redis = now.breakers.find((one) => one.target === 'redis');
  const taken = now.memory.find((one) => one.structure === 'snapshots')?.bytes;
  return html`<dl class="facts"><dt>Feed pages</dt><dd>${number(now.feeds)}</dd><dt>From a snapshot that was there</dt><dd>${number(now.feed_hit_rate * 100, 1)} %</dd><dt>Snapshots take</dt><dd>${bytes(taken)}</dd>
    <dt>Shared cache</dt><dd>${redis ? html`breaker ${state(redis.state)}` : 'not configured'}</dd></dl><p>What is cached of one user is forgotten on that <a href="/console/user">user’s page</a>.</p>`;
}

function keys() {
  if (!found.keys) return html`<p>The key set is at <code>/.well-known/jwks.json</code> of the API’s listener.</p>`;
  return table('Public keys of tokens', ['Id', 'Algorithm', 'Kind'], found.keys.map((one) => html`<tr><th scope="row"><code>${text(one.kid ?? '–')}</code></th><td>${text(one.alg ?? '–')}</td><td>${text(one.kty)} ${text(one.crv ?? '')}</td></tr>`), 'There are none.');
}

function unrevoke(one) {
  act({
    title: 'Take a revocation back', verb: 'Take it back', what: html`<p>Tokens that the rule ends are taken again until they expire: ${one.kind} <code>${text(one.id)}</code></p>`,
    run: async () => {
      await json('DELETE', `/api/v1/admin/revocations?${new URLSearchParams({ [one.kind]: one.id })}`);
      await load();
      return html`<p>The rule is gone.</p>`;
    },
  });
}

function revoke() {
  act({
    title: 'Revoke a token or a key', verb: 'Revoke', what: html`<p>Give the id of a token (jti) or of a key (kid). All of a user’s tokens are revoked on the user’s page.</p>`,
    fields: [{ name: 'jti', label: 'Token (jti)' }, { name: 'key_id', label: 'or key (kid)' }, { name: 'reason', label: 'Why', required: true }],
    run: async ({ jti, key_id: key, reason }) => {
      await json('POST', '/api/v1/admin/revocations', { ...(jti ? { jti } : {}), ...(key ? { key_id: key } : {}), reason });
      await load();
      return html`<p>It is refused from now on.</p>`;
    },
  });
}

function revocations() {
  const rows = found.revocations.map((one) => html`<tr><th scope="row">${one.kind.replace('_', ' ')}</th><td><code>${text(one.id)}</code></td><td>${time(one.before)}</td><td>${one.expires_at ? time(one.expires_at) : 'never'}</td><td>${button('Take back …', () => unrevoke(one), 'small')}</td></tr>`);
  return html`<p class="buttons">${button('Revoke …', revoke, 'danger')}</p>${table('Rules that end tokens early', ['By', 'Id', 'Issued before', 'Ends', 'Action'], rows, 'There are none.')}
    ${found.total > rows.length ? html`<p class="quiet">${number(found.total - rows.length)} more are not shown.</p>` : nothing}`;
}

function entries() {
  const rows = found.map((one) => html`<tr><td class="num">${one.id}</td><td>${time(one.at)}</td><td>${text(one.actor)}</td><td>${text(one.action)}</td><td>${text(one.subject || '–')}</td><td>${text(one.detail || '–')}</td></tr>`);
  return table(`Who did what: the newest ${rows.length}`, [['#', 'num'], 'When', 'Who', 'What', 'Of', 'Detail'], rows, 'Nobody did anything.');
}

function config() {
  const rows = Object.entries(found.settings).flatMap(([name, all]) => Object.entries(all).map(([key, value]) => html`<tr><th scope="row"><code>${name}.${key}</code></th><td>${value === '' ? html`<span class="quiet">not set</span>` : html`<code>${text(typeof value === 'string' ? value : JSON.stringify(value))}</code>`}</td></tr>`));
  return table('In force, secrets left out', ['Setting', 'Value'], rows, 'This node was started without a configuration.');
}

function backup() {
  act({
    title: 'Make a backup', verb: 'Copy', what: html`<p>The store is copied into a file of this name beside it, while the node runs.</p>`,
    fields: [{ name: 'name', label: 'Name', value: `console-${new Date().toISOString().slice(0, 10)}`, required: true }],
    run: async ({ name }) => {
      const made = await json('POST', '/api/v1/admin/backup', { name });
      return html`<p>${number(made.entries)} entries are in <code>${text(made.file)}</code>.</p>`;
    },
  });
}

function verify() {
  act({
    title: 'Check the store', verb: 'Check', what: html`<p>Every page of the store is read and compared with its checksum, beside the work of the node.</p>`,
    run: async () => {
      const told = await json('POST', '/api/v1/admin/store/verify?wait_s=20');
      await load();
      return html`<p>${state(told.check === 'damaged' ? 'stops' : 'ok', told.check)} ${bytes(told.checked_bytes)} of ${bytes(told.bytes)}</p>`;
    },
  });
}

function store() {
  const made = live.overview?.backup;
  return html`<dl class="facts"><dt>File</dt><dd><code>${text(found.store)}</code>, ${bytes(found.bytes)}</dd><dt>Check</dt><dd>${state(found.check === 'damaged' ? 'stops' : 'ok', found.check)} ${found.detail ? text(found.detail) : nothing}</dd>
    <dt>Latest backup</dt><dd>${made ? html`${time(made.made_at)}, verified ${time(made.verified_at)} ${made.verify_failed ? state('stops', 'the last verification failed') : nothing}` : 'none yet'}</dd>
    <dt>Up</dt><dd>${seconds(live.overview?.uptime_s)}</dd></dl><p class="buttons">${button('Make a backup …', backup)}${button('Check every page …', verify)}</p>`;
}

function view() {
  const [title, loads, shows] = SECTIONS[section];
  const body = problem ? failed(problem) : loads && !found ? html`<p class="quiet">Loading …</p>` : shows();
  return html`<h1>${title}</h1><nav class="sub" aria-label="System">${Object.entries(SECTIONS).map(([name, [words]]) => html`<a href="/console/system/${name}" aria-current=${name === section ? 'page' : nothing}>${words}</a>`)}</nav>${whyNot()}${body}`;
}

export default {
  title: 'System', view, live: true,
  start: async ([name], refresh) => { again = refresh; section = name in SECTIONS ? name : 'jobs'; await load(); },
};
