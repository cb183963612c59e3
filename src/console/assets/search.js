// A search from anywhere, with one key.
import { html, nothing, render } from './vendor/lit-html.js';
import { get, session } from './api.js';
import { dialogOf, failed, text } from './parts.js';

const WAIT_MS = 200;

export function open(visit) {
  const { dialog, mine } = dialogOf();
  let found = null;
  let problem = null;
  let timer = null;
  let asked = 0;
  const ask = async (words) => {
    asked += 1;
    const mine = asked;
    try {
      const answer = words ? await get(`/api/v1/admin/search?q=${encodeURIComponent(words)}`) : null;
      if (mine !== asked) return;
      [found, problem] = [answer, null];
    } catch (error) {
      if (mine !== asked) return;
      [found, problem] = [null, error];
    }
    draw();
  };
  const typed = (event) => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS, event.target.value.trim());
  };
  const entered = (event) => {
    event.preventDefault();
    const first = dialog.querySelector('.found a');
    if (first) visit(first.pathname);
    else ask(event.target.elements.q.value.trim());
  };
  const links = () => {
    if (problem) return failed(problem);
    if (!found) return html`<p class="quiet">A name, a part of one, or the id of a user or post.</p>`;
    const users = found.users.map((user) => html`<li><a href="/console/user/${user.user_id}">${text(user.username ?? user.user_id)}</a> <span class="quiet">user${user.active ? '' : ', not active'}</span></li>`);
    const posts = found.posts.map((post) => html`<li><a href="/console/post/${post.post_id}">${text(post.caption ?? post.post_id)}</a> <span class="quiet">post${post.username ? html` by ${text(post.username)}` : nothing}</span></li>`);
    return users.length + posts.length ? html`<ul class="found">${users}${posts}</ul>` : html`<p role="status">Nothing has such a name or id.</p>`;
  };
  const draw = () => mine() && render(html`<h2 id="dialog-title">Search</h2>
    ${session.admin ? html`<form @submit=${entered}><label>Name or id <input name="q" maxlength="64" autocomplete="off" spellcheck="false" @input=${typed}></label></form>${links()}` : html`<p>A search needs a token with the role admin. <a href="/console/user">Sign in</a></p>`}
    <p class="buttons"><button @click=${() => dialog.close()}>Close</button></p>`, dialog);
  draw();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector('input, a, button')?.focus();
}
