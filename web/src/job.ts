// The page of one job: its video, what was made, what happened, and what can be done.

import { ask, reason, type WholeJob } from './api';
import { badge, title, why } from './badge';
import { makeBars, remaining } from './bars';
import { h, say, toast } from './dom';
import { bytes, clock, moment, span } from './format';
import { figures, listen } from './live';
import { makePlayer, type Player } from './player';

interface Manifest {
  generation: string;
  objects: { name: string; bytes: number; seconds: number }[];
}

interface Verdict {
  right: boolean;
  text: string;
}

export function makeJob(id: string): { element: HTMLElement; close(): void } {
  let job: WholeJob | undefined;
  let player: Player | undefined;
  let made = '';
  const heading = h('h1', { tabindex: -1 });
  const state = h('div', { class: 'state' });
  const actions = h('div', { class: 'actions' });
  const bars = makeBars();
  const left = h('p', { class: 'left' });
  const stage = h('div', { class: 'stage' });
  const trouble = h('div', { class: 'trouble', hidden: true });
  const renditions = h('section', { class: 'panel', hidden: true, 'aria-label': 'Renditions' });
  const verdict = h('section', { class: 'panel', hidden: true, 'aria-label': 'Check' });
  const log = h('section', { class: 'panel', 'aria-label': 'Log' });
  const facts = h('dl', { class: 'panel facts' });
  const element = h(
    'article',
    { class: 'page' },
    h('a', { class: 'back', href: '#/' }, '← All jobs'),
    h('header', {}, h('div', { class: 'name' }, state, heading), actions),
    trouble,
    stage,
    h('div', { class: 'course' }, bars.element, left),
    h('div', { class: 'columns' }, h('div', {}, renditions, verdict, log), facts),
  );

  async function load(): Promise<void> {
    try {
      job = await ask<WholeJob>(`jobs/${encodeURIComponent(id)}`);
      draw(job);
    } catch (error) {
      if (!job) {
        say(heading, 'This job cannot be shown');
        stage.replaceChildren(h('p', { class: 'empty' }, reason(error)));
      }
    }
  }

  function draw(shown: WholeJob): void {
    say(heading, title(shown));
    document.title = `${title(shown)} · Forebay`;
    state.replaceChildren(badge(shown));
    bars.update(shown, figures[id]);
    element.dataset.state = shown.state;
    say(left, remaining(figures[id]) || (shown.state === 'running' ? (shown.note ?? '') : ''));
    trouble.hidden = !shown.error;
    trouble.replaceChildren(h('strong', {}, shown.state === 'dead' ? 'Failed: ' : 'Tries again: '), why(shown.error ?? ''));
    act(shown);
    facts.replaceChildren(...describe(shown));
    log.replaceChildren(
      h('h2', {}, 'Log'),
      shown.log.length === 0
        ? h('p', { class: 'dim' }, 'Nothing happened yet.')
        : h(
            'ol',
            { class: 'log' },
            ...shown.log.map((entry) =>
              h('li', {}, h('time', {}, moment(entry.at)), ' ', h('span', { class: 'who' }, entry.worker ? `attempt ${entry.attempt}` : ''), ' ', entry.what),
            ),
          ),
    );
    if (shown.state === 'done' && shown.media && made !== shown.media) {
      made = shown.media;
      player?.close();
      player = makePlayer(shown.media);
      stage.replaceChildren(player.element);
      void drawRenditions(shown.media);
    } else if (shown.state === 'done' && !shown.media) {
      stage.replaceChildren(h('p', { class: 'empty' }, 'The video lies at ', h('code', {}, String(shown.result?.master ?? '')), '. Set `serve.media-url` to play it here.'));
    }
  }

  function act(shown: WholeJob): void {
    const over = ['done', 'dead', 'cancelled'].includes(shown.state);
    const button = (word: string, kind: string, act: () => Promise<void>) => {
      const one = h('button', { type: 'button', class: kind }, word);
      one.addEventListener('click', () => {
        one.disabled = true;
        act()
          .catch((error: unknown) => toast(reason(error), 'bad'))
          .finally(() => {
            one.disabled = false;
          });
      });
      return one;
    };
    const post = (verb: string) => ask<WholeJob>(`jobs/${encodeURIComponent(id)}/${verb}`, 'POST');
    const key = `${shown.state} ${shown.cancelling} ${Boolean(shown.media)}`;
    if (actions.dataset.key === key) return;
    actions.dataset.key = key;
    actions.replaceChildren();
    if (!over && !shown.cancelling) {
      actions.append(button('Cancel', 'danger', async () => draw((job = await post('cancel')))));
    }
    if (['dead', 'cancelled', 'delayed'].includes(shown.state)) {
      actions.append(button(shown.state === 'delayed' ? 'Retry now' : 'Retry', 'primary', async () => draw((job = await post('retry')))));
    }
    if (shown.state === 'done') {
      actions.append(
        button('Check', '', async () => {
          const found = await ask<Verdict>(`jobs/${encodeURIComponent(id)}/verify`, 'POST');
          verdict.hidden = false;
          verdict.replaceChildren(h('h2', {}, found.right ? '✓ Checked: no rule is broken' : '✕ Checked: rules are broken'), h('pre', {}, found.text));
          verdict.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
        }),
      );
      if (shown.media) {
        actions.append(
          button('Copy link', '', async () => {
            const link = new URL(shown.media ?? '', location.href).href;
            await navigator.clipboard.writeText(link);
            toast('The address of the playlist is copied');
          }),
        );
      }
    }
  }

  function describe(shown: WholeJob): HTMLElement[] {
    const took = shown.started && shown.ended ? span((shown.ended - shown.started) / 1000) : null;
    const all: [string, string | null][] = [
      ['Input', shown.input],
      ['Video', shown.video],
      ['Made', shown.plan],
      ['Size', shown.bytes ? bytes(shown.bytes) : null],
      ['Encrypted', shown.encrypted ? 'AES-128' : 'no'],
      ['Handed in', moment(shown.submitted)],
      ['Began', shown.started ? moment(shown.started) : null],
      ['Took', took],
      ['Attempt', shown.attempt > 0 ? String(shown.attempt) : null],
      ['Worker', shown.worker],
      ['Number', shown.id],
    ];
    return all.flatMap(([name, value]) => (value ? [h('dt', {}, name), h('dd', {}, value)] : []));
  }

  /** The manifest beside the playlists says what was made. */
  async function drawRenditions(media: string): Promise<void> {
    const master = await fetch(media).then((response) => (response.ok ? response.text() : ''));
    const folder = /^([^#\s/]+)\/[^/\s]+\/[^\s]*$/m.exec(master)?.[1];
    if (!folder) return;
    const answer = await fetch(media.replace(/master\.m3u8$/, `${folder}/manifest.json`));
    if (!answer.ok) return;
    const manifest = (await answer.json()) as Manifest;
    const groups = new Map<string, { bytes: number; seconds: number; objects: number }>();
    for (const object of manifest.objects) {
      const name = object.name.includes('/') ? (object.name.split('/')[0] ?? '') : 'other files';
      const group = groups.get(name) ?? { bytes: 0, seconds: 0, objects: 0 };
      group.bytes += object.bytes;
      group.seconds += object.seconds;
      group.objects += 1;
      groups.set(name, group);
    }
    const row = (name: string, group: { bytes: number; seconds: number; objects: number }) =>
      h(
        'tr',
        {},
        h('th', { scope: 'row' }, name),
        h('td', {}, bytes(group.bytes)),
        h('td', {}, group.seconds > 0 ? `${Math.round((group.bytes * 8) / group.seconds / 1000)} kb/s` : ''),
        h('td', {}, group.seconds > 0 ? clock(group.seconds) : ''),
        h('td', {}, String(group.objects)),
      );
    const order = ([a]: [string, unknown], [b]: [string, unknown]) => (parseInt(b, 10) || 0) - (parseInt(a, 10) || 0);
    renditions.hidden = false;
    renditions.replaceChildren(
      h('h2', {}, 'What was made'),
      h(
        'table',
        {},
        h('thead', {}, h('tr', {}, ...['Rendition', 'Size', 'Bitrate', 'Length', 'Files'].map((word) => h('th', { scope: 'col' }, word)))),
        h('tbody', {}, ...[...groups].sort(order).map(([name, group]) => row(name, group))),
      ),
    );
  }

  const stop = listen({
    jobs(jobs) {
      if (jobs.some((one) => one.id === id)) void load();
    },
    figures() {
      if (!job || job.state !== 'running') return;
      bars.update(job, figures[id]);
      say(left, remaining(figures[id]) || (job.note ?? ''));
    },
    reset: () => void load(),
  });
  const back = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && !(event.target instanceof HTMLInputElement)) location.hash = '#/';
  };
  document.addEventListener('keydown', back);
  void load().then(() => heading.focus());
  return {
    element,
    close() {
      stop();
      player?.close();
      document.removeEventListener('keydown', back);
      document.title = 'Forebay';
    },
  };
}
