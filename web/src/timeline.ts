// The machine over the last minutes: how busy the CPU and the network were, which
// job did what when, and what bounds the run.

import { ask, type Sample, type Span, type Timeline } from './api';
import { h, say, svg } from './dom';
import { bytes, percent } from './format';

/** The stretch that is shown, and how often it is drawn. */
const WINDOW = 5 * 60_000;
const EVERY = 2000;

const WIDE = 1000;
const HIGH = 110;
const ROW = 15;
const MOST_ROWS = 6;

const LANES = [
  { name: 'cpu', word: 'CPU', of: (sample: Sample) => sample.cpu },
  { name: 'download', word: 'Download', of: (sample: Sample) => sample.download },
  { name: 'upload', word: 'Upload', of: (sample: Sample) => sample.upload },
] as const;

const BOUND = {
  idle: 'Nothing to do',
  cpu: 'Bound by the CPU',
  download: 'Bound by the download',
  upload: 'Bound by the upload',
  none: 'Nothing is short',
};

export function makeTimeline(name: (job: string) => string): { element: HTMLElement; close(): void } {
  let samples: Sample[] = [];
  const drawing = svg('svg', { class: 'drawing', viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: 'none', role: 'img' });
  const rows = h('div', { class: 'rows' });
  const verdict = h('strong', { class: 'verdict' });
  const figures = new Map(
    LANES.map(({ name: lane, word }) => {
      const value = h('b', {});
      return [lane, { value, element: h('span', { class: `figure ${lane}` }, h('i', { 'aria-hidden': 'true' }), `${word} `, value) }] as const;
    }),
  );
  const rates = h('span', { class: 'rates' });
  const element = h(
    'section',
    { class: 'timeline', 'aria-label': 'This machine' },
    h('header', {}, verdict, h('div', { class: 'figures' }, ...[...figures.values()].map((one) => one.element)), rates),
    h('div', { class: 'chart' }, drawing as unknown as HTMLElement, h('div', { class: 'axis', 'aria-hidden': 'true' }, h('span', {}, '5 min ago'), h('span', {}, 'now'))),
    rows,
  );

  async function draw(): Promise<void> {
    if (document.hidden) return;
    const now = Date.now();
    const last = samples.at(-1)?.at ?? now - WINDOW;
    let timeline: Timeline;
    try {
      timeline = await ask<Timeline>(`timeline?after=${Math.max(last, now - WINDOW)}`);
    } catch {
      return;
    }
    samples = [...samples, ...timeline.samples].filter((sample) => sample.at > now - WINDOW);
    const { bound } = timeline;
    element.dataset.bound = bound.what;
    say(verdict, BOUND[bound.what]);
    for (const { name: lane } of LANES) {
      const figure = figures.get(lane);
      if (figure) say(figure.value, percent(bound[lane]));
    }
    const newest = samples.at(-1);
    say(rates, newest ? `↓ ${bytes(newest.bytes_in)}/s   ↑ ${bytes(newest.bytes_out)}/s` : '');
    drawing.setAttribute(
      'aria-label',
      `${BOUND[bound.what]}; over the last half minute CPU ${percent(bound.cpu)}, download ${percent(bound.download)}, upload ${percent(bound.upload)}`,
    );
    const x = (at: number) => WIDE * (1 - (now - at) / WINDOW);
    drawing.replaceChildren(...grid(), ...LANES.map((lane) => line(lane, x)));
    spans(await recent(now), now);
  }

  /** The stretches come whole each time: those that go on grow. */
  async function recent(now: number): Promise<Span[]> {
    const { spans: all } = await ask<Timeline>(`timeline?after=${now - WINDOW}`).catch(() => ({ spans: [] as Span[] }));
    return all;
  }

  function grid(): SVGElement[] {
    return [0.25, 0.5, 0.75].map((part) =>
      svg('line', { class: 'grid', x1: 0, x2: WIDE, y1: HIGH * part, y2: HIGH * part }),
    );
  }

  function line(lane: (typeof LANES)[number], x: (at: number) => number): SVGElement {
    const smooth = samples.map((_, place) => {
      const near = samples.slice(Math.max(0, place - 2), place + 1);
      return near.reduce((sum, sample) => sum + lane.of(sample), 0) / near.length;
    });
    const points = samples.map((sample, place) => `${x(sample.at).toFixed(1)},${(HIGH - 3 - (HIGH - 6) * (smooth[place] ?? 0)).toFixed(1)}`);
    const group = svg('g', { class: `lane ${lane.name}` });
    if (points.length > 1) {
      const first = x(samples[0]?.at ?? 0).toFixed(1);
      const end = x(samples.at(-1)?.at ?? 0).toFixed(1);
      if (lane.name === 'cpu') group.append(svg('polygon', { class: 'area', points: `${first},${HIGH} ${points.join(' ')} ${end},${HIGH}` }));
      group.append(svg('polyline', { points: points.join(' '), 'vector-effect': 'non-scaling-stroke' }));
    }
    return group;
  }

  function spans(all: Span[], now: number): void {
    const jobs = [...new Set(all.map((span) => span.job))].slice(-MOST_ROWS);
    rows.replaceChildren(
      ...jobs.map((job) => {
        const picture = svg('svg', { viewBox: `0 0 ${WIDE} ${ROW}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
        for (const span of all.filter((one) => one.job === job)) {
          const from = Math.max(0, WIDE * (1 - (now - span.from) / WINDOW));
          const width = Math.max(2, WIDE * (1 - (now - span.to) / WINDOW) - from);
          const place = ['download', 'encode', 'upload'].indexOf(span.stage);
          picture.append(svg('rect', { class: span.stage, x: from, width, y: place * 5 + 0.5, height: 4, rx: 1 }));
        }
        return h('a', { class: 'row', href: `#/jobs/${job}` }, h('span', {}, name(job)), picture as unknown as HTMLElement);
      }),
    );
  }

  void draw();
  const timer = setInterval(() => void draw(), EVERY);
  return { element, close: () => clearInterval(timer) };
}
