// A state as a sign, a word and a colour, so that it is read without the colour.

import type { Job, State } from './api';
import { h } from './dom';

export const STATES: Record<State, { word: string; sign: string }> = {
  waiting: { word: 'Waiting', sign: '○' },
  delayed: { word: 'Retrying', sign: '↻' },
  running: { word: 'Running', sign: '▶' },
  done: { word: 'Done', sign: '✓' },
  dead: { word: 'Failed', sign: '✕' },
  cancelled: { word: 'Cancelled', sign: '⊘' },
};

export function badge(job: Job): HTMLElement {
  const { word, sign } = STATES[job.state];
  const shown = job.cancelling ? 'Cancelling' : word;
  return h('span', { class: `badge ${job.state}` }, h('span', { 'aria-hidden': 'true' }, sign), ' ', shown);
}

// They turn the letters behind them around, so that `\u202egpj.exe` would look like `exe.jpg`.
const TURNING = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** What people call a job. */
export function title(job: Job): string {
  return named(job).replace(TURNING, '') || job.id;
}

/** Why a job failed, beside a sign that says that it did. */
export function why(error: string): string {
  return error.replace(/^failed for good: /, '');
}

function named(job: Job): string {
  if (job.title) return job.title;
  if (job.video) return job.video;
  const name = decode(job.input.split('?')[0] ?? '').replace(/\/+$/, '').split('/').pop();
  return name || job.input;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
