// What happens, as it happens. The browser comes back by itself after a break
// and is told what it missed.

import type { Counts, Figures, Job } from './api';

export interface Listener {
  jobs?(jobs: Job[]): void;
  counts?(counts: Counts): void;
  figures?(): void;
  /** Too much was missed: load anew. */
  reset?(): void;
  connected?(yes: boolean): void;
}

const listeners = new Set<Listener>();

/** The figures of the jobs that run, by their number. */
export let figures: Record<string, Figures> = {};

/** Listens until the function that it gives is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (what: (listener: Listener) => void): void => listeners.forEach(what);

let source: EventSource | undefined;
let broken = false;

/** Begins to listen to the server. */
export function connect(): void {
  source?.close();
  source = new EventSource('/api/v1/events');
  const on = (event: string, act: (data: never) => void) =>
    source?.addEventListener(event, (message) => act(JSON.parse((message as MessageEvent<string>).data) as never));
  on('jobs', (jobs: Job[]) => tell((listener) => listener.jobs?.(jobs)));
  on('counts', (counts: Counts) => tell((listener) => listener.counts?.(counts)));
  on('reset', () => tell((listener) => listener.reset?.()));
  on('live', (all: Record<string, Figures>) => {
    figures = all;
    tell((listener) => listener.figures?.());
  });
  source.onopen = () => {
    // A browser that gave up and began anew has no last number to say.
    if (broken) tell((listener) => listener.reset?.());
    broken = false;
    tell((listener) => listener.connected?.(true));
  };
  source.onerror = () => {
    tell((listener) => listener.connected?.(false));
    if (source?.readyState === EventSource.CLOSED) {
      broken = true;
      setTimeout(connect, 3000);
    }
  };
}
