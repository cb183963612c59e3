// What pages are made of: numbers with units, times, texts of strangers, states, tables, and the dialog of an action.
import { html, nothing, render, svg } from './vendor/lit-html.js';
import { mayChange, session } from './api.js';

const GROUPED = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
/** Characters of a text that are shown. */
const TEXT_MAX = 20_000;
/** Characters of a name or a caption in a link: the page of the user or post has all of them. */
const LINK_MAX = 120;

export function number(value, digits = 0) {
  if (value === null || value === undefined) return '–';
  if (digits && Math.abs(value) < 1000) return Number(value).toFixed(digits);
  return GROUPED.format(value);
}

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  let unit = 0;
  let left = value;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  while (Math.abs(left) >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${unit ? left.toFixed(1) : left} ${units[unit]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return '–';
  const whole = Math.max(0, Math.floor(value));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** A time in UTC, and in the reader's zone where that is another one. */
export function time(when) {
  if (when === null || when === undefined) return html`–`;
  const at = new Date(when);
  if (Number.isNaN(at.getTime())) return text(String(when));
  const iso = at.toISOString();
  const local = at.toLocaleTimeString('en-GB', { timeZoneName: 'short' });
  // Where it is another day already, or still. Sweden writes dates as ISO 8601 does.
  const day = at.toLocaleDateString('sv-SE');
  const other = at.getTimezoneOffset() ? html` <span class="quiet">(${day === iso.slice(0, 10) ? local : `${day} ${local}`})</span>` : nothing;
  return html`<time datetime=${iso}>${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC</time>${other}`;
}

/** Control characters by their pictures, marks of direction by their numbers: what a stranger wrote is seen, and moves nothing. */
export function plain(value) {
  const short = value.length > TEXT_MAX ? value.slice(0, TEXT_MAX) : value;
  return short.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g, (one) => {
    const code = one.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? '\u2421' : `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}

/** A text of a stranger, at most the first `most` characters of it. */
export function text(value, most = TEXT_MAX) {
  if (value === null || value === undefined) return html`<span class="quiet">none</span>`;
  const all = String(value);
  const left = all.length > most ? html` <span class="quiet">… ${number(all.length - most)} more characters</span>` : nothing;
  return html`<bdi>${plain(all.slice(0, most))}</bdi>${left}`;
}

/** The same in lines of their own, as they are. */
export const raw = (value, label) => html`<pre class="raw" tabindex="0" role="region" aria-label=${label}>${text(value)}</pre>`;

const STATES = {
  ok: ['●', 'ok'], warns: ['▲', 'look'], stops: ['■', 'stops'], off: ['○', 'off'], open: ['■', 'open'],
  'half-open': ['▲', 'half-open'], closed: ['●', 'closed'], yes: ['●', 'yes'], no: ['■', 'no'],
};

/** Headers of a record, each in a place of its own, so that no name or value looks like another header. Each { name, value, cut, base64 }. */
export function headers(list, level = 3) {
  const line = (value) => text(value.replaceAll('\n', '\u240a'));
  const one = ({ name, value, cut, base64 }) => html`<dt>${line(name)}</dt><dd>${line(value)}${cut ? ' …' : ''}${base64
    ? html`<br><span class="quiet">no text (UTF-8), in Base64:</span> <code>${base64}</code>` : nothing}</dd>`;
  return list.length ? html`${level === 3 ? html`<h3>Headers</h3>` : html`<h4>Headers</h4>`}<dl class="facts headers">${list.map(one)}</dl>` : nothing;
}

/** A state by shape, word and colour. */
export function state(name, word) {
  const [mark, says] = STATES[name] ?? ['○', name];
  return html`<span class="state ${name}"><span aria-hidden="true">${mark}</span>&nbsp;${word ?? says}</span>`;
}

export const userLink = (id, name) => id
  ? html`<a href="/console/user/${id}">${name ? text(name, LINK_MAX) : html`<code>${id.slice(0, 8)}…</code>`}</a>` : html`–`;

export const postLink = (id, words) => html`<a href="/console/post/${id}">${words ? text(words, LINK_MAX) : html`<code>${id.slice(0, 8)}…</code>`}</a>`;

/** A table that scrolls by itself where it is too wide. heads: [name, class]; rows: templates of <tr>. */
export function table(caption, heads, rows, empty = 'Nothing.') {
  if (!rows.length) return html`<p class="quiet">${empty}</p>`;
  const head = heads.map((one) => {
    const [name, kind] = Array.isArray(one) ? one : [one, ''];
    return html`<th scope="col" class=${kind}>${name}</th>`;
  });
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table>
    <caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** A command with a button that copies it. */
export function command(line) {
  const copy = async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(line);
      tell('Copied.');
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      tell('Selected: copy it with your keyboard.');
    }
  };
  return html`<span class="command"><code>${line}</code><button class="small" @click=${copy} aria-label="Copy ${line}">Copy</button></span>`;
}

const LINE_W = 120;
const LINE_H = 24;

/** A small line of values, described in words. */
export function sparkline(values, label) {
  const most = Math.max(1, ...values);
  const step = LINE_W / Math.max(1, values.length - 1);
  const points = values.map((value, at) => `${(at * step).toFixed(1)},${(LINE_H - 2 - (value / most) * (LINE_H - 4)).toFixed(1)}`);
  return html`<svg class="spark" viewBox="0 0 ${LINE_W} ${LINE_H}" role="img" aria-label=${label}>${svg`<polyline points=${points.join(' ')} />`}</svg>`;
}

/** Parts of a sum side by side; each [name, value]. */
export function bar(parts, most, label) {
  let at = 0;
  const shown = parts.map(([, value], place) => {
    const width = (Math.max(0, value) / Math.max(most, 1e-9)) * 200;
    const rect = svg`<rect class="part${place}" x=${at.toFixed(2)} y="0" width=${width.toFixed(2)} height="10" />`;
    at += width;
    return rect;
  });
  return html`<svg class="bar" viewBox="0 0 200 10" preserveAspectRatio="none" role="img" aria-label=${label}>${shown}</svg>`;
}

/** Says something for those who see and those who listen; it stays until the next. */
export function tell(words, kind = 'ok') {
  const told = document.getElementById('told');
  const close = () => render(nothing, told);
  render(html`<p class="toast ${kind}">${words} <button class="small" @click=${close}>Close</button></p>`, told);
}

/** What a request that failed says to a person. */
export const failed = (error) => html`<p class="problem" role="alert">${state('stops', 'Failed')} ${text(error.message)}</p>`;

let owner = null;

/** The dialog, for whoever asks last: `mine` says whether it is still theirs to draw in. */
export function dialogOf() {
  const dialog = document.getElementById('dialog');
  const me = {};
  owner = me;
  dialog.addEventListener('close', () => { if (owner === me) owner = null; }, { once: true });
  return { dialog, mine: () => owner === me };
}

/**
 * Asks before it acts. title; what: a template that says what will happen, or a promise of one; fields: [{name, label,
 * value, type, required}]; run(values): does it, and gives a template of the result, or { result, told } where `told` says it in short.
 */
export function act({ title, what, fields = [], verb = 'Do it', run }) {
  const { dialog, mine } = dialogOf();
  const close = () => dialog.close();
  let says = null;
  let result = null;
  let busy = false;
  const draw = () => {
    if (!mine()) return;
    const inputs = fields.map((field) => html`<label>${field.label}
      <input name=${field.name} type=${field.type ?? 'text'} .value=${field.value ?? ''} ?required=${field.required} autocomplete="off"></label>`);
    const form = html`<form @submit=${submit}>${says ?? html`<p class="quiet">Looking at what would happen …</p>`}${inputs}
      <p class="buttons"><button type="submit" class="primary" ?disabled=${busy || says === null}>${busy ? 'At it …' : verb}</button>
      <button type="button" @click=${close}>Leave it</button></p></form>`;
    const end = html`${result}<p class="buttons"><button class="primary" @click=${close}>Close</button></p>`;
    render(html`<h2 id="dialog-title">${title}</h2>${result ? end : form}`, dialog);
  };
  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    busy = true;
    draw();
    try {
      const done = await run(values);
      result = done.result ?? done;
      tell(done.told ?? `${title}: done. It stands in the audit.`);
    } catch (error) {
      result = failed(error);
      // Somebody who has left the dialog is told all the same.
      if (!mine()) tell(html`${title}: ${text(error.message)}`, 'bad');
    }
    draw();
    if (mine()) dialog.querySelector('button')?.focus();
  };
  draw();
  dialog.showModal();
  Promise.resolve(what).then((words) => { says = words; draw(); }, (error) => { result = failed(error); draw(); });
}

/** A button of an action; none where nothing may be changed. */
export function button(label, todo, kind = '') {
  if (!mayChange()) return nothing;
  return html`<button class=${kind} @click=${todo}>${label}</button>`;
}

/** Why there are no buttons. */
export function whyNot() {
  if (mayChange()) return nothing;
  const words = session.admin ? 'http.console is read: nothing can be changed from here.' : 'Actions need the role admin.';
  return html`<p class="quiet">${words}</p>`;
}
