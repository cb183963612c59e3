// What the node tells all the time: one stream for the page, none while the tab is hidden.
import { events, get } from './api.js';

/** Points of a plot, as in the node's ring. */
const POINTS = 600;
const RETRY_MS = 2000;
/** Something comes twice a second: after so much silence the connection is dead, although nobody said so. */
const SILENT_MS = 4000;

/** overview: the newest document, null before the first; at: when it came (performance.now); lost: the stream is away; connected: something came over the stream at hand. */
export const live = { overview: null, history: null, at: 0, lost: false, connected: false };

const listeners = new Set();

export function listen(told) {
  listeners.add(told);
  return () => listeners.delete(told);
}

const tell = () => listeners.forEach((told) => told());

/** JSON Merge Patch (RFC 7396). */
export function merged(target, patch) {
  if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch;
  const out = target && typeof target === 'object' && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete out[name];
    else out[name] = merged(out[name], value);
  }
  return out;
}

/** Puts the newest values behind the plots; a point a second, and never more than the ring has. */
function point() {
  const { overview, history } = live;
  if (!history || overview.now_ms - history.until_ms < history.step_ms) return;
  const missed = Math.min(POINTS, Math.round((overview.now_ms - history.until_ms) / history.step_ms));
  for (const [name, list] of Object.entries(history.gauges)) {
    for (let gap = 1; gap < missed; gap += 1) list.push(null);
    list.push(overview.gauges[name] ?? null);
    list.splice(0, list.length - POINTS);
  }
  history.until_ms = overview.now_ms;
}

function take(event, data) {
  if (event === 'snapshot') live.overview = JSON.parse(data);
  else if (event === 'patch' && live.overview) live.overview = merged(live.overview, JSON.parse(data));
  live.at = performance.now();
  const back = live.lost;
  [live.lost, live.connected] = [false, true];
  if (event === 'ping' || !live.overview?.gauges) {
    if (back) tell();
    return;
  }
  point();
  tell();
}

let running = null;

async function run(signal) {
  while (!signal.aborted) {
    try {
      live.history = await get('/api/v1/overview/history', { signal });
      await events('/api/v1/overview/stream', signal, take);
    } catch (error) {
      if (signal.aborted) return;
      live.problem = error.message;
    }
    if (signal.aborted) return;
    [live.lost, live.connected] = [true, false];
    tell();
    await new Promise((done) => { setTimeout(done, RETRY_MS); });
  }
}

function follow() {
  running?.abort();
  running = null;
  live.connected = false;
  if (document.hidden) return;
  running = new AbortController();
  run(running.signal);
}

export function start() {
  document.addEventListener('visibilitychange', follow);
  follow();
  // What stands there gets older while nothing comes.
  setInterval(() => {
    if (live.connected && !document.hidden && performance.now() - live.at > SILENT_MS) {
      live.lost = true;
      follow();
    }
    if (!live.connected && !document.hidden) tell();
  }, 1000);
}
