// The three bars of a job: what came in, what is encoded, what is stored.

import type { Figures, Job } from './api';
import { h, say } from './dom';
import { bytes, percent, span, times } from './format';

const STAGES = ['download', 'encode', 'upload'] as const;
const WORDS = { download: 'Download', encode: 'Encode', upload: 'Upload' };

export interface Bars {
  element: HTMLElement;
  update(job: Job, figures: Figures | undefined): void;
}

/** How far each stage is, from 0 to 1; nothing where that cannot be told. */
export function parts(job: Job, figures: Figures | undefined): Record<(typeof STAGES)[number], number | null> {
  if (job.state === 'done') return { download: 1, encode: 1, upload: 1 };
  const known = job.progress ?? { download: null, encode: null, upload: null };
  if (!figures) return known;
  const share = (part: number, all: number | null) => (all && all > 0 ? Math.min(1, part / all) : null);
  return {
    download: share(figures.downloaded, figures.size) ?? (figures.seconds > 0 && figures.downloaded === 0 ? 1 : known.download),
    encode: figures.seconds > 0 ? figures.encoded : known.encode,
    upload: share(figures.objects[0], figures.objects[1]) ?? known.upload,
  };
}

/** Speed of each stage in words. */
function speed(stage: (typeof STAGES)[number], figures: Figures | undefined, part: number | null): string {
  if (!figures || part === null || part >= 1) return '';
  if (stage === 'download' && figures.download_rate > 0) return `${bytes(figures.download_rate)}/s`;
  if (stage === 'encode' && figures.encode_rate > 0) return times(figures.encode_rate);
  if (stage === 'upload' && figures.upload_rate > 0) return `${bytes(figures.upload_rate)}/s`;
  return '';
}

/** When it will be done, in words. */
export function remaining(figures: Figures | undefined): string {
  return figures?.remaining != null && figures.encoded < 1 ? `about ${span(figures.remaining)} left` : '';
}

export function makeBars(): Bars {
  const rows = STAGES.map((stage) => {
    const fill = h('span', { class: 'fill' });
    const track = h(
      'span',
      { class: 'track', role: 'progressbar', 'aria-label': WORDS[stage], 'aria-valuemin': 0, 'aria-valuemax': 100 },
      fill,
    );
    const value = h('span', { class: 'value' });
    const element = h('div', { class: `bar ${stage}` }, h('span', { class: 'name' }, WORDS[stage]), track, value);
    return { stage, fill, track, value, element };
  });
  const element = h('div', { class: 'bars' }, ...rows.map((row) => row.element));
  return {
    element,
    update(job, figures) {
      const all = parts(job, figures);
      for (const { stage, fill, track, value, element: row } of rows) {
        const part = all[stage];
        fill.style.transform = `scaleX(${part ?? 0})`;
        row.classList.toggle('unknown', part === null && job.state === 'running' && stage === 'download');
        row.classList.toggle('full', part !== null && part >= 1);
        if (part === null) track.removeAttribute('aria-valuenow');
        else track.setAttribute('aria-valuenow', String(Math.floor(part * 100)));
        const rate = speed(stage, figures, part);
        say(value, part === null ? rate || '–' : part >= 1 ? 'done' : rate ? `${percent(part)} · ${rate}` : percent(part));
      }
    },
  };
}
