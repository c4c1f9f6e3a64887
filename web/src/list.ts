// The list of jobs: filtered, searched and paged by the server, kept up to date by events.

import { ask, reason, type Counts, type Job, type Page, type State } from './api';
import { badge, STATES, title, why } from './badge';
import { makeBars, remaining, type Bars } from './bars';
import { announce, h, say } from './dom';
import { ago, bytes, count, span } from './format';
import { figures, listen } from './live';

const PAGE = 50;

interface Row {
  job: Job;
  element: HTMLAnchorElement;
  bars: Bars;
  update(job: Job): void;
}

export interface View {
  element: HTMLElement;
  close(): void;
}

export function makeList(): View {
  const rows = new Map<string, Row>();
  let filter: State | '' = '';
  let words = '';
  let next: string | null = null;
  let asked = 0;

  const search = h('input', {
    type: 'search',
    id: 'search',
    placeholder: 'Search titles, numbers, errors',
    'aria-label': 'Search jobs',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const chips = h('div', { class: 'chips', role: 'group', 'aria-label': 'Filter by state' });
  const list = h('div', { class: 'jobs', role: 'list', 'aria-label': 'Jobs' });
  const more = h('button', { class: 'more', type: 'button', hidden: true, click: () => void load(true) }, 'Show more');
  const empty = h('div', { class: 'empty', hidden: true });
  const element = h(
    'section',
    { class: 'list', 'aria-label': 'Jobs' },
    h('div', { class: 'tools' }, chips, h('div', { class: 'search' }, search, h('kbd', { 'aria-hidden': 'true' }, '/'))),
    list,
    empty,
    more,
  );

  const options: [State | '', string][] = [
    ['', 'All'],
    ...(['running', 'waiting', 'done', 'dead', 'delayed', 'cancelled'] as const).map(
      (state): [State, string] => [state, STATES[state].word],
    ),
  ];
  const numbers = new Map<string, HTMLElement>();
  for (const [state, word] of options) {
    const number = h('span', { class: 'number' });
    numbers.set(state, number);
    const chip = h('button', { type: 'button', class: 'chip', 'aria-pressed': String(state === '') }, word, ' ', number);
    chip.addEventListener('click', () => {
      filter = state;
      for (const other of chips.children) other.setAttribute('aria-pressed', String(other === chip));
      void load(false);
    });
    chips.append(chip);
  }

  function counted(counts: Counts | null): void {
    if (!counts) return;
    const all = Object.values(counts).reduce((sum, one) => sum + one, 0);
    for (const [state, number] of numbers) say(number, count(state === '' ? all : counts[state as State]));
  }

  async function load(append: boolean): Promise<void> {
    asked += 1;
    const mine = asked;
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (filter) query.set('state', filter);
    if (words) query.set('q', words);
    if (append && next) query.set('after', next);
    element.setAttribute('aria-busy', 'true');
    try {
      const page = await ask<Page>(`jobs?${query}`);
      if (mine !== asked) return;
      if (!append) {
        rows.clear();
        list.replaceChildren();
      }
      for (const job of page.jobs) if (!rows.has(job.id)) list.append(make(job).element);
      next = page.next;
      more.hidden = next === null;
      counted(page.counts);
      shown();
      if (words) announce(`${rows.size}${next ? ' or more' : ''} jobs found`);
    } catch (error) {
      if (mine !== asked) return;
      empty.hidden = false;
      empty.replaceChildren(h('p', {}, reason(error)));
    } finally {
      if (mine === asked) element.removeAttribute('aria-busy');
    }
  }

  function shown(): void {
    empty.hidden = rows.size > 0;
    if (rows.size > 0) return;
    const text = words || filter ? 'No job fits.' : 'No videos yet. Drop a file above, or give an address.';
    empty.replaceChildren(h('p', {}, text));
  }

  function make(job: Job): Row {
    const name = h('span', { class: 'title' });
    const state = h('span', { class: 'state' });
    const facts = h('span', { class: 'facts' });
    const bars = makeBars();
    const anchor = h(
      'a',
      { class: 'job', href: `#/jobs/${job.id}`, role: 'listitem' },
      h('span', { class: 'head' }, state, name),
      facts,
      bars.element,
    );
    const row: Row = {
      job,
      element: anchor,
      bars,
      update(newer) {
        row.job = newer;
        say(name, title(newer));
        name.title = newer.input;
        state.replaceChildren(badge(newer));
        anchor.dataset.state = newer.state;
        bars.update(newer, figures[newer.id]);
        say(facts, fact(newer));
      },
    };
    row.update(job);
    rows.set(job.id, row);
    return row;
  }

  function fact(job: Job): string {
    const left = remaining(figures[job.id]);
    const took = job.started && job.ended ? `took ${span((job.ended - job.started) / 1000)}` : '';
    const by = {
      running: [left || job.plan || 'starting', job.note ?? ''],
      waiting: [`handed in ${ago(job.submitted)}`],
      delayed: [job.error ? why(job.error) : 'tries again soon'],
      done: [took, job.bytes ? bytes(job.bytes) : '', job.encrypted ? 'encrypted' : '', job.ended ? ago(job.ended) : ''],
      dead: [job.error ? why(job.error) : 'failed'],
      cancelled: [job.ended ? ago(job.ended) : ''],
    }[job.state];
    return by.filter(Boolean).join(' · ');
  }

  const fits = (job: Job): boolean => {
    if (filter && job.state !== filter) return false;
    const text = [job.title, job.video, job.input, job.id, job.worker, job.error].join('\n').toLowerCase();
    return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  };

  const stop = listen({
    jobs(jobs) {
      for (const job of jobs) {
        const row = rows.get(job.id);
        if (row && !fits(job)) {
          rows.delete(job.id);
          row.element.remove();
        } else if (row) row.update(job);
        else if (fits(job)) insert(job);
      }
      shown();
    },
    counts: counted,
    figures() {
      for (const row of rows.values()) if (row.job.state === 'running') row.update(row.job);
    },
    reset: () => void load(false),
  });

  /** Where it belongs by age, if that is on this page. */
  function insert(job: Job): void {
    const newer = (one: Job) => one.submitted > job.submitted || (one.submitted === job.submitted && one.id > job.id);
    const before = [...list.children].find((child) => {
      const other = rows.get((child as HTMLAnchorElement).hash.slice('#/jobs/'.length));
      return other && !newer(other.job);
    });
    if (before) list.insertBefore(make(job).element, before);
    else if (next === null) list.append(make(job).element);
  }

  let pause: number | undefined;
  search.addEventListener('input', () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      words = search.value.trim();
      void load(false);
    }, 150);
  });

  const keys = (event: KeyboardEvent): void => {
    const typing = event.target instanceof HTMLElement && event.target.matches('input, select, textarea');
    if (event.key === 'Escape' && event.target === search) {
      search.value = '';
      search.dispatchEvent(new Event('input'));
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '/') {
      event.preventDefault();
      search.focus();
    }
    if (event.key === 'j' || event.key === 'k') step(event.key === 'j' ? 1 : -1);
  };

  function step(by: number): void {
    const all = [...list.children] as HTMLElement[];
    const at = all.indexOf(document.activeElement as HTMLElement);
    all[Math.min(all.length - 1, Math.max(0, at + by))]?.focus();
  }

  document.addEventListener('keydown', keys);
  const ages = setInterval(() => rows.forEach((row) => row.update(row.job)), 30_000);
  void load(false);
  return {
    element,
    close() {
      stop();
      clearInterval(ages);
      document.removeEventListener('keydown', keys);
    },
  };
}
