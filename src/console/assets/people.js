// One user: the feed as they see it, why each post is where it is, why one is not there, whom they could follow.
import { html, nothing } from './vendor/lit-html.js';
import { get, json } from './api.js';
import { act, bar, button, failed, number, postLink, state, table, text, time, userLink, whyNot } from './parts.js';

const FEED = 50;
const SUGGESTED = 20;
const TERMS = ['recency', 'engagement', 'affinity'];

let again = null;
let one = null;
let why = null;
let found = null;

async function cards(ids) {
  if (!ids.length) return new Map();
  const { posts } = await get(`/api/v1/admin/posts?ids=${ids.join(',')}`);
  return new Map(posts.map((card) => [card.post_id, card]));
}

async function load(id) {
  one = null;
  why = null;
  const [card, feed, suggested] = await Promise.all([
    get(`/api/v1/admin/users/${id}`),
    get(`/api/v1/admin/users/${id}/explain-feed?limit=${FEED}`),
    get(`/api/v1/admin/lists/suggestions/${id}?limit=${SUGGESTED}`),
  ]);
  one = { id, card, feed, suggested, cards: await cards(feed.posts) };
}

function revoke() {
  act({
    title: 'Revoke tokens', verb: 'Revoke',
    what: html`<p>Every token of ${text(one.card.username ?? one.id)} that was issued until now is refused from now on. New tokens work.</p>`,
    fields: [{ name: 'reason', label: 'Why', required: true }],
    run: async ({ reason }) => {
      const rule = await json('POST', '/api/v1/admin/revocations', { user_id: one.id, reason });
      return html`<p>Tokens issued before ${time(rule.before)} are refused.</p>`;
    },
  });
}

function forget() {
  act({
    title: 'Forget snapshots', verb: 'Forget',
    what: html`<p>The feed of ${text(one.card.username ?? one.id)} is made anew with the next request.</p>`,
    run: async () => {
      await json('POST', '/api/v1/admin/cache/invalidate', { user_ids: [one.id], scope: 'feed' });
      await load(one.id);
      again();
      return html`<p>It is forgotten.</p>`;
    },
  });
}

async function ask(event) {
  event.preventDefault();
  const post = new FormData(event.target).get('post').trim();
  try {
    why = await get(`/api/v1/admin/explain?user_id=${one.id}&post_id=${encodeURIComponent(post)}`);
  } catch (error) {
    why = { error };
  }
  again();
}

function answer() {
  if (!why) return nothing;
  if (why.error) return failed(why.error);
  return html`<div class="answer" role="status"><p>${why.shown ? state('ok', 'shown') : state('stops', `not shown: ${why.rule}`)} ${postLink(why.post_id)}</p><p>${text(why.why)}.</p></div>`;
}

function place(item, most) {
  const card = one.cards.get(item.post_id);
  const terms = TERMS.map((name) => [name, item.terms[name]]);
  const says = terms.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(', ');
  return html`<tr><td class="num">${item.rank}</td><td>${postLink(item.post_id, card?.caption ?? null)}<br><span class="quiet">by ${userLink(item.author_id, card?.username)}, ${number(item.features.age_h, 1)} h old</span></td>
    <td class="wide">${bar(terms, most, says)}<span class="quiet">${says}</span></td><td class="num"><strong>${item.score.toFixed(3)}</strong></td>
    <td>${item.sources.join(', ')}</td><td class="num">${item.rank_before_spacing}${item.rank_before_spacing === item.rank ? nothing : html` <span class="quiet">moved by spacing</span>`}</td></tr>`;
}

function feed() {
  const items = one.feed.items ?? [];
  const most = Math.max(1e-9, ...items.map((item) => item.score));
  const key = html`<p class="key">${TERMS.map((name, at) => html`<span><svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="part${at}" width="10" height="10"></rect></svg> ${name}</span>`)}</p>`;
  return html`<p>${number(one.feed.total_count)} posts, made ${time(one.feed.as_of)}, ${one.feed.newer ? 'a new one would differ' : 'a new one would be the same'}.</p>${key}
    ${table(`The first ${items.length} places`, [['#', 'num'], 'Post', 'Terms of the score', ['score', 'num'], 'From', ['by score', 'num']], items.map((item) => place(item, most)), 'The feed is empty.')}`;
}

function suggestions() {
  const rows = one.suggested.users.map((user, at) => html`<tr><td class="num">${at + 1}</td><td>${userLink(user.user_id, user.username)}</td><td>${user.reason.replaceAll('_', ' ')}</td>
    <td class="num">${number(user.score)}</td><td>${user.evidence.slice(0, 5).map((id) => html`${userLink(id)} `)}${user.evidence.length > 5 ? html`<span class="quiet">and ${user.evidence.length - 5} more</span>` : nothing}</td></tr>`);
  return table('Whom they could follow', [['#', 'num'], 'User', 'Because', ['mutual', 'num'], 'Who follows them'], rows, 'Nobody.');
}

function page() {
  const { card } = one;
  return html`<h1>${text(card.username ?? 'A user without a name')}</h1>
    <p class="lead">${card.active ? state('ok', 'active') : state('stops', 'not active')} <code>${one.id}</code> <span>${number(card.followers)} followers, follows ${number(card.followees)}, ${number(card.posts_total)} posts</span></p>
    <p class="buttons">${button('Revoke tokens …', revoke, 'danger')}${button('Forget snapshots …', forget)}</p>${whyNot()}
    <section aria-labelledby="h-why"><h2 id="h-why">Why is a post not there?</h2><form class="inline" @submit=${ask}><label>Post <input name="post" required pattern="([0-9a-fA-F]|-){32,36}" placeholder="id of the post"></label><button type="submit">Explain</button></form>${answer()}</section>
    <section aria-labelledby="h-feed"><h2 id="h-feed">Feed, as they see it</h2>${feed()}</section>
    <section aria-labelledby="h-sugg"><h2 id="h-sugg">Suggestions</h2>${suggestions()}</section>
    <section aria-labelledby="h-posts"><h2 id="h-posts">Newest posts</h2>${card.posts.length ? html`<ul class="ids">${card.posts.map((id) => html`<li>${postLink(id)}</li>`)}</ul>` : html`<p class="quiet">None.</p>`}</section>`;
}

async function search(event) {
  event.preventDefault();
  const words = new FormData(event.target).get('q').trim();
  try {
    found = await get(`/api/v1/admin/search?q=${encodeURIComponent(words)}`);
  } catch (error) {
    found = { error };
  }
  again();
}

function results() {
  if (!found) return nothing;
  if (found.error) return failed(found.error);
  const rows = found.users.map((user) => html`<tr><td>${userLink(user.user_id, user.username)}</td><td><code>${user.user_id}</code></td><td>${user.active ? state('ok', 'active') : state('off', 'not active')}</td></tr>`);
  return table('Users that were found', ['Name', 'Id', 'State'], rows, 'Nobody has such a name or id.');
}

function view(params) {
  if (params.length) return one ? page() : html`<h1>User</h1><p class="quiet">Loading …</p>`;
  return html`<h1>Users</h1><form class="inline" @submit=${search}><label>Name or id <input name="q" required maxlength="64"></label><button type="submit" class="primary">Search</button></form>${results()}`;
}

export default {
  title: 'User', view,
  start: async ([id], refresh) => { again = refresh; one = null; if (id) await load(id); },
};
