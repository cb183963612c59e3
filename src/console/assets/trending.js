// What trends: the four windows side by side, live, where each post stood an hour ago, and what operators say.
import { html, nothing } from './vendor/lit-html.js';
import { get, session } from './api.js';
import { listen, live } from './live.js';
import { button, failed, number, postLink, sparkline, state, text, userLink, whyNot } from './parts.js';
import { block, pin, release } from './posts.js';

const WINDOWS = ['1h', '6h', '24h', '7d'];
const SHOWN = 20;
/** Between two looks at lists that changed. */
const GAP_MS = 1000;
const HOUR_MS = 3_600_000;
/** The lists of an hour ago change slowly, and cost the node a look through all posts. */
const BEFORE_EVERY_MS = 60_000;

let again = null;
let forget = null;
let timer = null;
let lists = {};
/** Of each window, the generation that the stream named when its list was asked for. */
let asked = {};
let before = {};
let cards = new Map();
let overrides = new Map();
let problem = null;
let lookedBack = 0;
let looked = 0;
let busy = false;
let paused = false;
/** The focus or the mouse is in the lists: a button must not come to stand for another post. */
let held = { focus: false, mouse: false };
/** Counts visits to the page: what an earlier one still waits for is dropped. */
let visit = 0;

const stands = () => paused || held.focus || held.mouse;

async function fill() {
  const ids = [...new Set(Object.values(lists).flatMap((list) => list.posts.map((post) => post.post_id)))];
  const missing = ids.filter((id) => !cards.has(id)).slice(0, 100);
  if (!session.admin || !missing.length) return;
  const { posts } = await get(`/api/v1/admin/posts?ids=${missing.join(',')}`);
  posts.forEach((card) => cards.set(card.post_id, card));
}

async function back() {
  if (!session.admin || performance.now() - lookedBack < BEFORE_EVERY_MS) return;
  lookedBack = performance.now();
  cards = new Map();
  const found = await get('/api/v1/admin/trending/overrides');
  overrides = new Map(found.overrides.map((one) => [one.post_id, one]));
  for (const window of Object.keys(lists)) {
    const then = new Date(Date.parse(lists[window].generated_at) - HOUR_MS).toISOString();
    const list = await get(`/api/v1/admin/lists/trending?window=${window}&limit=200&now=${then}`);
    before[window] = new Map(list.posts.map((post) => [post.post_id, post.rank]));
  }
}

async function load(windows) {
  if (busy || document.hidden) return;
  const mine = visit;
  [busy, looked] = [true, performance.now()];
  const named = { ...live.overview?.trending };
  try {
    const found = await Promise.all(windows.map((window) => get(`/api/v1/feed/trending?window=${window}&limit=${SHOWN}`).catch((error) => {
      // A window that trending.windows does not keep.
      if (error.status === 400) return null;
      throw error;
    })));
    if (mine !== visit) return;
    lists = { ...lists, ...Object.fromEntries(windows.map((window, at) => [window, found[at]]).filter(([, list]) => list)) };
    windows.forEach((window) => { asked[window] = named[window]; });
    await back();
    await fill();
    problem = null;
  } catch (error) {
    problem = error;
    looked += 4 * GAP_MS;
  } finally {
    if (mine === visit) busy = false;
  }
  if (mine === visit) again();
}

/** Asks for the lists that the stream says are others now. One stream serves the whole console: a browser opens six connections to a host. */
function told() {
  if (stands() || performance.now() - looked < GAP_MS) return;
  const now = live.overview?.trending ?? {};
  const changed = WINDOWS.filter((window) => now[window] && now[window] !== asked[window]);
  if (changed.length) load(changed);
}

function movement(window, post) {
  if (!before[window]) return nothing;
  const was = before[window].get(post.post_id);
  if (!was) return html`<span class="move">new</span>`;
  const by = was - post.rank;
  if (!by) return html`<span class="move quiet">= <span class="hidden">as an hour ago</span></span>`;
  return html`<span class="move"><span aria-hidden="true">${by > 0 ? '↑' : '↓'}${Math.abs(by)}</span><span class="hidden">${by > 0 ? 'up' : 'down'} ${Math.abs(by)} since an hour ago</span></span>`;
}

async function changed() {
  [lookedBack, busy] = [-BEFORE_EVERY_MS, false];
  await load(WINDOWS);
}

function entry(window, post) {
  const card = cards.get(post.post_id);
  const over = overrides.get(post.post_id);
  const name = card?.username;
  const buttons = over ? button('Take back …', () => release(post.post_id, changed), 'small')
    : html`${button('Pin …', () => pin(post.post_id, changed), 'small')}${button('Block …', () => block(post.post_id, changed), 'small')}`;
  return html`<li><span class="rank">${post.rank}</span><div><p>${session.admin ? postLink(post.post_id, card?.caption ?? null) : html`<code>${post.post_id.slice(0, 8)}…</code>`} ${movement(window, post)} ${post.pinned ? state('warns', 'pinned') : nothing}</p>
    <p class="quiet">${number(post.score, 1)} – ${number(post.views)} views, ${number(post.likes)} likes, ${number(post.comments)} comments, ${number(post.shares)} shares${name ? html`, by ${userLink(post.author_id, name)}` : nothing}</p>
    <div class="row">${card ? sparkline(card.activity, `Activity by hour over a day, now ${card.activity.at(-1)}`) : nothing}<p class="buttons">${buttons}</p></div></div></li>`;
}

function hold(name, value) {
  held = { ...held, [name]: value };
  again();
  told();
}

const within = {
  focusin: () => { if (!held.focus) hold('focus', true); },
  focusout: (event) => { if (!event.currentTarget.contains(event.relatedTarget)) hold('focus', false); },
  enter: (event) => { if (event.pointerType === 'mouse') hold('mouse', true); },
  leave: () => { if (held.mouse) hold('mouse', false); },
};

function pause() {
  paused = !paused;
  again();
  told();
}

function words() {
  if (paused) return 'The lists stand still.';
  return stands() ? 'The lists stand still while you are in them.' : 'The lists are live.';
}

function board(window, list) {
  return html`<section aria-labelledby="h-${window}"><h2 id="h-${window}">${window}</h2><p class="quiet">${number(list.total_posts)} posts scored${list.degraded ? html`; ${text(list.degraded.join(', '))}` : nothing}</p>
    ${list.posts.length ? html`<ol class="board">${list.posts.map((post) => entry(window, post))}</ol>` : html`<p class="quiet">Nothing counted in this time.</p>`}</section>`;
}

function view() {
  const blocked = [...overrides.values()].filter((one) => one.action === 'block');
  return html`<h1>Trending</h1>${problem ? failed(problem) : nothing}${whyNot()}
    <p class="buttons"><button aria-pressed=${paused} @click=${pause}>Pause</button> <span class="quiet">${words()} Arrows compare with an hour ago.</span></p>
    ${blocked.length ? html`<section aria-labelledby="h-block"><h2 id="h-block">Blocked</h2><ul class="ids">${blocked.map((one) => html`<li>${postLink(one.post_id)} ${button('Take back …', () => release(one.post_id, changed), 'small')}</li>`)}</ul></section>` : nothing}
    <div class="boards" @focusin=${within.focusin} @focusout=${within.focusout} @pointerenter=${within.enter} @pointerleave=${within.leave}>${WINDOWS.filter((window) => lists[window]).map((window) => board(window, lists[window]))}</div>`;
}

export default {
  title: 'Trending', view,
  start: async (params, refresh) => {
    again = refresh;
    visit += 1;
    [lists, asked, before, cards, overrides, problem] = [{}, {}, {}, new Map(), new Map(), null];
    [lookedBack, looked, busy, paused] = [-BEFORE_EVERY_MS, -GAP_MS, false, false];
    held = { focus: false, mouse: false };
    forget?.();
    forget = listen(told);
    clearInterval(timer);
    // The lists of an hour ago, and what could not be asked for.
    timer = setInterval(() => { if (!stands()) load(WINDOWS); }, BEFORE_EVERY_MS);
    await load(WINDOWS);
  },
  stop: () => {
    visit += 1;
    clearInterval(timer);
    forget?.();
    forget = null;
  },
};
