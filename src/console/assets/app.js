// The frame of the console: where one is, who one is, whether what stands there is fresh.
import { html, nothing, render } from './vendor/lit-html.js';
import * as api from './api.js';
import { listen, live, start } from './live.js';
import { failed, seconds, state, tell } from './parts.js';
import overview, { NAMES } from './overview.js';

/** name: [in the navigation, loads its module, needs the role admin]. */
const PAGES = {
  '': ['Overview', async () => overview, false],
  failed: ['Failed', async () => (await import('./failed.js')).default, true],
  live: ['Live', async () => (await import('./tap.js')).default, true],
  user: ['Users', async () => (await import('./people.js')).default, true],
  post: ['Posts', async () => (await import('./posts.js')).default, true],
  trending: ['Trending', async () => (await import('./trending.js')).default, false],
  source: ['Source', async () => (await import('./source.js')).default, false],
  system: ['System', async () => (await import('./system.js')).default, true],
  api: ['API', async () => (await import('./playground.js')).default, false],
};
const ROOT = '/console/';

let page = null;
let name = '';
let params = [];
let problem = null;
let path = '';

const refresh = () => draw();

function where() {
  const [first, ...rest] = location.pathname.slice(ROOT.length).split('/').map(decodeURIComponent);
  return [first in PAGES ? first : '', rest.filter(Boolean)];
}

async function go() {
  const [next, rest] = where();
  path = location.pathname;
  page?.stop?.();
  [page, name, params, problem] = [null, next, rest, null];
  const [title, load, admin] = PAGES[next];
  document.title = `${title} · nova`;
  draw();
  try {
    const loaded = await load();
    if (name !== next) return;
    page = loaded;
    if (!admin || api.session.admin) await page.start?.(rest, refresh);
  } catch (error) {
    problem = error;
  }
  if (name === next) draw();
}

/** Goes to a page of the console without loading it anew. */
export function visit(path) {
  history.pushState(null, '', path);
  document.getElementById('dialog').close();
  go();
  document.getElementById('main').focus();
  scrollTo(0, 0);
}

function signInForm(words) {
  const submit = async (event) => {
    event.preventDefault();
    const field = event.target.elements.token;
    try {
      await api.signIn(field.value.trim());
      field.value = '';
      tell('Signed in.');
      go();
    } catch (error) {
      tell(html`Not signed in: ${error.message}`, 'bad');
      field.focus();
    }
  };
  return html`<section class="card" aria-labelledby="h-sign"><h2 id="h-sign">Sign in</h2><p>${words}</p>
    <form @submit=${submit}><label>Token <input name="token" type="password" required autocomplete="off" spellcheck="false"></label>
    <p class="buttons"><button class="primary" type="submit">Sign in</button></p></form>
    <p class="quiet">On the machine of the node, with the development key: <code>nova token --sub 00000000-0000-0000-0000-000000000001 --role admin</code>.
    The token is exchanged for a cookie that no script can read; it ends with the browser.</p></section>`;
}

async function signOut() {
  await api.signOut();
  tell('Signed out.');
  go();
}

function fresh() {
  if (live.connected) return state('ok', 'live');
  const age = live.at ? `what stands here is ${seconds((performance.now() - live.at) / 1000)} old` : null;
  if (!live.lost) return state('off', age ? `connecting: ${age}` : 'connecting');
  return state('stops', `stream lost: ${age ?? live.problem ?? 'no answer yet'}`);
}

let wasLost = false;

/** Says once that the stream is lost, or back: the age beside it changes each second, and is not read out. */
function sayLost() {
  if (live.lost === wasLost) return;
  wasLost = live.lost;
  if (wasLost) tell('The stream is lost. What stands here gets older; nova is asked again every 2 s.', 'bad');
  else tell('The stream is back.');
}

let told = null;

/** Says which stage is in another state than before: states are read out, and rates are not. */
function sayStates() {
  const now = live.overview?.stages;
  if (!now) return;
  const changed = now.filter((one, at) => told && told[at] !== one.state);
  told = now.map((one) => one.state);
  if (!changed.length) return;
  const words = { ok: 'is well', warns: 'needs a look', stops: 'stops', off: 'is off' };
  document.getElementById('states').textContent = changed.map((one) => `${NAMES[one.stage]} ${words[one.state]}.`).join(' ');
}

function top() {
  const link = ([key, [title]]) => html`<a href="${ROOT}${key}" aria-current=${key === name ? 'page' : nothing}>${title}${badge(key)}</a>`;
  const who = api.session.signed_in
    ? html`<button class="small" @click=${signOut}>Sign out${api.session.admin ? '' : ' (no role admin)'}</button>` : nothing;
  return html`<a class="brand" href=${ROOT}><span aria-hidden="true">✦</span> nova</a>
    <nav aria-label="Pages">${Object.entries(PAGES).map(link)}</nav>
    <div class="tools"><button class="small" @click=${openSearch} aria-keyshortcuts="/">Search <kbd>/</kbd></button>${who}
    <span id="fresh">${fresh()}</span></div>`;
}

function badge(key) {
  const dead = key === 'failed' ? live.overview?.dead_letters : 0;
  return dead ? html` <span class="count">${dead}<span class="hidden"> dead letters</span></span>` : nothing;
}

function body() {
  const [title, , admin] = PAGES[name];
  if (admin && !api.session.admin) {
    const words = api.session.signed_in ? 'This token has not the role admin.' : 'This page shows what is somebody’s own, or acts: it needs a token with the role admin.';
    return html`<h1>${title}</h1>${signInForm(words)}`;
  }
  if (problem) return html`<h1>${title}</h1>${failed(problem)}`;
  if (!page) return html`<h1>${title}</h1><p class="quiet">Loading …</p>`;
  return page.view(params, refresh);
}

let waits = false;

/** At most once a frame, whatever asks for it. */
function draw() {
  if (waits) return;
  waits = true;
  requestAnimationFrame(() => {
    waits = false;
    render(top(), document.getElementById('top'));
    const main = document.getElementById('main');
    if (!main.dataset.taken) {
      main.replaceChildren();
      main.dataset.taken = '1';
    }
    render(body(), main);
    page?.drawn?.();
  });
}

async function openSearch() {
  (await import('./search.js')).open(visit);
}

function clicked(event) {
  const link = event.target.closest?.('a[href]');
  const plainly = !event.defaultPrevented && event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !plainly || link.origin !== location.origin || !link.pathname.startsWith(ROOT) || link.getAttribute('href').startsWith('#')) return;
  event.preventDefault();
  visit(link.pathname + link.search);
}

function typed(event) {
  const inField = event.target.closest?.('input, textarea, select, dialog[open]');
  if (event.key !== '/' || inField || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  openSearch();
}

/** A token behind the # of the address, as `nova demo` prints it: exchanged, and taken out of the address at once. */
async function handedOver() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return;
  history.replaceState(null, '', location.pathname);
  try {
    await api.signIn(token);
  } catch (error) {
    tell(`The token of the address is not taken: ${error.message}`, 'bad');
  }
}

async function begin() {
  // A link within the page, as to its content, leaves the page as it is.
  addEventListener('popstate', () => { if (location.pathname !== path) go(); });
  addEventListener('hashchange', async () => { if (location.hash.includes('token=')) { await handedOver(); await go(); } });
  document.addEventListener('click', clicked);
  document.addEventListener('keydown', typed);
  listen(() => {
    sayLost();
    sayStates();
    if (page?.live) draw();
    else render(top(), document.getElementById('top'));
  });
  start();
  draw();
  try {
    await handedOver();
    await api.whoami();
  } catch (error) {
    tell(error.message, 'bad');
  }
  await go();
}

begin();
