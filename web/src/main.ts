// Where the page begins: who one is, and which view the address asks for.

import './style.css';
import icon from './icon.svg';
import { ask, reason, Refusal, type Session } from './api';
import { h, say, toast } from './dom';
import { makeJob } from './job';
import { makeList, type View } from './list';
import { connect, listen } from './live';
import { makeLogin } from './login';
import { makeTimeline } from './timeline';
import { makeUpload } from './upload';

const app = document.getElementById('app') as HTMLElement;
const THEMES = ['auto', 'light', 'dark'] as const;

function theme(): HTMLElement {
  const signs = { auto: '◐', light: '☀', dark: '☾' };
  const button = h('button', { type: 'button', class: 'quiet theme' });
  const apply = (name: (typeof THEMES)[number]) => {
    document.documentElement.dataset.theme = name;
    button.textContent = signs[name];
    button.title = `Colours: ${name}`;
    button.setAttribute('aria-label', `Colours: ${name}. Change`);
  };
  let now = THEMES.find((name) => name === localStorage.getItem('theme')) ?? 'auto';
  apply(now);
  button.addEventListener('click', () => {
    now = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] ?? 'auto';
    localStorage.setItem('theme', now);
    apply(now);
  });
  return button;
}

/** What jobs are called, as far as the page knows. */
const names = new Map<string, string>();
listen({
  jobs: (jobs) => jobs.forEach((job) => names.set(job.id, job.title ?? job.video ?? job.input)),
});

function frame(session: Session): void {
  const link = h('span', { class: 'link', role: 'status' }, '');
  const main = h('main', { id: 'main' });
  const out = h('button', { type: 'button', class: 'quiet' }, 'Log out');
  out.addEventListener('click', () => void ask('logout', 'POST').then(() => location.reload()));
  app.replaceChildren(
    h(
      'header',
      { class: 'top' },
      h('a', { class: 'brand', href: '#/' }, h('img', { src: icon, alt: '', width: 26, height: 26 }), 'Forebay'),
      link,
      h('span', { class: 'grow' }),
      session.open ? null : h('span', { class: 'who' }, session.name),
      theme(),
      session.open ? null : out,
    ),
    main,
  );
  listen({
    connected(yes) {
      link.classList.toggle('lost', !yes);
      say(link, yes ? 'live' : 'reconnecting …');
    },
  });

  let views: { close(): void }[] = [];
  const show = (): void => {
    views.forEach((view) => view.close());
    const id = /^#\/jobs\/([\w.-]+)$/.exec(location.hash)?.[1];
    if (id) {
      const job = makeJob(id);
      views = [job];
      main.replaceChildren(job.element);
      return;
    }
    const list: View = makeList();
    const timeline = makeTimeline((job) => names.get(job) ?? job);
    const may = (scope: string) => session.scopes.includes(scope) || session.scopes.includes('admin');
    const upload = may('submit') ? makeUpload() : undefined;
    views = [list, timeline, ...(upload ? [upload] : [])];
    main.replaceChildren(...(upload ? [upload.element] : []), timeline.element, list.element);
  };
  window.addEventListener('hashchange', show);
  connect();
  show();
}

async function begin(): Promise<void> {
  try {
    const session = await ask<Session>('session');
    const known = await ask<{ jobs: { id: string; title: string | null; video: string | null; input: string }[] }>('jobs?limit=200').catch(() => ({ jobs: [] }));
    known.jobs.forEach((job) => names.set(job.id, job.title ?? job.video ?? job.input));
    frame(session);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      app.replaceChildren(makeLogin(() => void begin()));
      return;
    }
    toast(reason(error), 'bad');
    setTimeout(() => void begin(), 3000);
  }
}

void begin();
