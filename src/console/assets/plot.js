// Plots over ten minutes. uPlot draws on canvases that stay: a new second moves the line and nothing else.
import { html } from './vendor/lit-html.js';
import { live } from './live.js';
import { number } from './parts.js';

const HEIGHT = 110;
/** By the element's name. */
const drawn = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(plot, width) {
  const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui' };
  const hour = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  return {
    width, height: HEIGHT, legend: { show: false }, cursor: { show: false },
    scales: { y: { range: (u, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 1, plot.least ?? 1)] } },
    axes: [
      { ...axis, size: 22, values: (u, ticks) => ticks.map(hour), space: 70 },
      { ...axis, size: 52, values: (u, ticks) => ticks.map(plot.unit ?? ((value) => number(value, value % 1 ? 1 : 0))) },
    ],
    series: [{}, ...plot.gauges.map(([, , name], at) => ({
      stroke: colour(at ? '--second' : '--first'), width: 1.5, dash: at ? [5, 3] : undefined, points: { show: false }, label: name,
    }))],
  };
}

function data(plot) {
  const { gauges, until_ms: until, step_ms: step } = live.history;
  const lists = plot.gauges.map(([name]) => gauges[name] ?? []);
  const length = lists[0].length;
  const times = Array.from({ length }, (_, at) => (until - (length - 1 - at) * step) / 1000);
  return [times, ...lists];
}

/** plot: {id, title, gauges: [[gauge, says(value), name]], unit(value), least}. */
export function figure(plot) {
  const now = live.overview?.gauges ?? {};
  const values = plot.gauges.map(([name, says, label]) => `${label} ${says(now[name])}`).join(', ');
  return html`<figure><figcaption><span>${plot.title}</span> <strong>${values}</strong></figcaption>
    <div class="plot" id="plot-${plot.id}" role="img" aria-label="${plot.title}, the last ten minutes"></div></figure>`;
}

/** Draws the plots whose figures are on the page. */
export function draw(plots) {
  if (!live.history || !globalThis.uPlot) return;
  for (const plot of plots) {
    const host = document.getElementById(`plot-${plot.id}`);
    const width = host?.clientWidth ?? 0;
    if (width < 60) continue;
    const known = drawn.get(plot.id);
    if (known?.host === host && host.contains(known.chart.root)) {
      if (known.width !== width) known.chart.setSize({ width, height: HEIGHT });
      known.width = width;
      known.chart.setData(data(plot));
    } else {
      known?.chart.destroy();
      drawn.set(plot.id, { host, width, chart: new globalThis.uPlot(options(plot, width), data(plot), host) });
    }
  }
}

/** Forgets what is drawn: the page is gone, or the colours are others. */
export function forget() {
  drawn.forEach(({ chart }) => chart.destroy());
  drawn.clear();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', forget);
