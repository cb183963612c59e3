// One post: what it counted, who may see it, where it stands, and what an operator says of it.
import { html, nothing, svg } from './vendor/lit-html.js';
import { get, json } from './api.js';
import { act, button, number, state, table, text, time, userLink, whyNot } from './parts.js';

const ACTIONS = ['impression', 'view', 'like', 'comment', 'share'];

let again = null;
let post = null;

async function load(id) {
  post = null;
  post = await get(`/api/v1/admin/posts/${encodeURIComponent(id)}`);
}

/** Actions of the buttons that say where a post stands in trending. */
export function pin(id, then) {
  act({
    title: 'Pin in trending', verb: 'Pin', what: html`<p>The post <code>${id}</code> has this place in every window until the override is taken back.</p>`,
    fields: [{ name: 'place', label: 'Place, 1 to 200', type: 'number', value: 1, required: true }],
    run: async ({ place }) => {
      await json('PUT', `/api/v1/admin/trending/overrides/${id}`, { action: 'pin', place: Number(place) });
      await then();
      return html`<p>It is pinned at place ${place}.</p>`;
    },
  });
}

export function block(id, then) {
  act({
    title: 'Block from trending', verb: 'Block', what: html`<p>No window shows the post <code>${id}</code> until the override is taken back. Feeds are as before.</p>`,
    run: async () => {
      await json('PUT', `/api/v1/admin/trending/overrides/${id}`, { action: 'block' });
      await then();
      return html`<p>It is blocked.</p>`;
    },
  });
}

export function release(id, then) {
  act({
    title: 'Take the override back', verb: 'Take it back', what: html`<p>The post <code>${id}</code> stands again where its score puts it.</p>`,
    run: async () => {
      await json('DELETE', `/api/v1/admin/trending/overrides/${id}`);
      await then();
      return html`<p>The override is gone.</p>`;
    },
  });
}

const WIDTH = 480;
const HEIGHT = 80;

function hours() {
  const sums = post.hours.map((hour) => ACTIONS.slice(1).reduce((all, name) => all + (hour.counts[name] ?? 0), 0));
  const most = Math.max(1, ...sums);
  const step = WIDTH / sums.length;
  const bars = sums.map((sum, at) => svg`<rect class="part0" x=${(at * step).toFixed(1)} y=${(HEIGHT - (sum / most) * HEIGHT).toFixed(1)} width=${(step - 1).toFixed(1)} height=${((sum / most) * HEIGHT).toFixed(1)} />`);
  return html`<svg class="hours" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Views, likes, comments and shares by hour over two days, at most ${number(most)}">${bars}</svg>
    <p class="quiet">Views, likes, comments and shares by hour, over two days; the highest bar is ${number(most)}.</p>`;
}

function page() {
  const { card } = post;
  const id = card.post_id;
  const refresh = async () => { await load(id); again(); };
  const over = post.override;
  const says = over ? (over.action === 'pin' ? `pinned at place ${over.place}` : 'blocked') : null;
  const windows = post.windows.map((one) => html`<tr><th scope="row">${one.window}</th><td class="num">${one.rank ?? '–'}</td><td class="num">${number(one.score, 1)}</td><td class="num">${number(one.posts)}</td></tr>`);
  const buttons = over ? button('Take the override back …', () => release(id, refresh))
    : html`${button('Pin …', () => pin(id, refresh))}${button('Block …', () => block(id, refresh), 'danger')}`;
  return html`<h1>Post</h1><blockquote>${text(card.caption)}</blockquote>
    <p class="lead"><span>by ${userLink(card.author_id, card.username)}</span> <span>${time(card.created_at)}</span> <code>${id}</code></p>
    <p>${post.hidden ? html`${state('stops', 'nobody sees it')} ${text(post.hidden)}` : state('ok', 'may be seen')} ${says ? state('warns', says) : nothing}</p>
    <p class="buttons">${buttons}</p>${whyNot()}
    <section aria-labelledby="h-counts"><h2 id="h-counts">Counts</h2><dl class="facts">${ACTIONS.map((name) => html`<dt>${name}s</dt><dd>${number(post.totals[name] ?? 0)}</dd>`)}</dl>${hours()}</section>
    <section aria-labelledby="h-win"><h2 id="h-win">Trending</h2>${table('Place in each window', ['Window', ['place', 'num'], ['score', 'num'], ['of', 'num']], windows)}</section>`;
}

function find(event) {
  event.preventDefault();
  const id = new FormData(event.target).get('id').trim();
  event.target.querySelector('a').href = `/console/post/${encodeURIComponent(id)}`;
  event.target.querySelector('a').click();
}

function view(params) {
  if (params.length) return post ? page() : html`<h1>Post</h1><p class="quiet">Loading …</p>`;
  return html`<h1>Posts</h1><p>Posts are found by their id, in a feed, or in <a href="/console/trending">trending</a>.</p>
    <form class="inline" @submit=${find}><label>Id <input name="id" required pattern="([0-9a-fA-F]|-){32,36}"></label><button type="submit" class="primary">Show</button><a href="/console/post/" hidden>Show</a></form>`;
}

export default {
  title: 'Post', view,
  start: async ([id], refresh) => { again = refresh; post = null; if (id) await load(id); },
};
