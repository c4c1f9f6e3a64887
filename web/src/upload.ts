// Handing in videos: files by drag and drop or choice, sent by tus so that a
// break does not begin anew, and addresses.

import { Upload } from 'tus-js-client';
import { ask, reason, type Job } from './api';
import { h, say, toast } from './dom';
import { bytes, percent, span } from './format';

/** Bytes of one request: a broken one costs at most this much, and a proxy need not hold it all. */
const PIECE = 32 * 1024 * 1024;

/** Files that are sent at the same time. */
const AT_ONCE = 2;

export function makeUpload(): { element: HTMLElement; close(): void } {
  const waiting: File[] = [];
  let running = 0;

  const file = h('input', { type: 'file', id: 'file', multiple: true, class: 'unseen', accept: 'video/*,.mkv,.ts,.mts,.m2ts,.avi,.webm,.mov' });
  const address = h('input', {
    type: 'url',
    name: 'address',
    placeholder: 'or paste an address: https://…',
    'aria-label': 'Address of a video',
    required: true,
  });
  const encrypt = h('input', { type: 'checkbox', id: 'encrypt' });
  const ladder = h('select', { id: 'ladder', 'aria-label': 'Sizes to make' });
  for (const [value, word] of [
    ['', 'All sizes'],
    ['1080p', 'Only 1080p'],
    ['720p', 'Only 720p'],
    ['360p', 'Only 360p'],
  ]) {
    ladder.append(h('option', { value: value ?? '' }, word ?? ''));
  }
  const form = h(
    'form',
    { class: 'address' },
    address,
    h('button', { type: 'submit' }, 'Add'),
  );
  const queue = h('ul', { class: 'sending', 'aria-label': 'Files being sent' });
  const element = h(
    'section',
    { class: 'drop', 'aria-label': 'Add videos' },
    h(
      'div',
      { class: 'invitation' },
      h('label', { class: 'choose', for: 'file' }, h('strong', {}, 'Drop videos here'), h('span', {}, 'or choose files')),
      file,
    ),
    form,
    h(
      'div',
      { class: 'choices' },
      ladder,
      h('label', { for: 'encrypt', class: 'switch' }, encrypt, 'Encrypt'),
    ),
    queue,
  );

  const options = (): Record<string, unknown> => ({
    ...(ladder.value && { ladder: ladder.value }),
    ...(encrypt.checked && { encrypt: 'aes-128' }),
  });

  async function submit(job: Record<string, unknown>, chosen: Record<string, unknown>): Promise<void> {
    const made = await ask<Job>('jobs', 'POST', { ...job, options: chosen });
    toast(`Added ${made.title ?? made.input}`);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit({ input: address.value.trim() }, options())
      .then(() => form.reset())
      .catch((error: unknown) => toast(reason(error), 'bad'));
  });

  function add(files: Iterable<File>): void {
    waiting.push(...files);
    while (running < AT_ONCE && waiting.length > 0) send(waiting.shift() as File);
  }

  function send(one: File): void {
    running += 1;
    const chosen = options();
    const fill = h('span', { class: 'fill' });
    const track = h('span', { class: 'track', role: 'progressbar', 'aria-label': `Sending ${one.name}` }, fill);
    const value = h('span', { class: 'value' }, 'begins');
    const stop = h('button', { type: 'button', class: 'quiet', 'aria-label': `Stop sending ${one.name}` }, '✕');
    const row = h('li', {}, h('span', { class: 'name' }, one.name), track, value, stop);
    queue.append(row);
    const begun = performance.now();
    const over = (keep: number) => {
      running -= 1;
      setTimeout(() => row.remove(), keep);
      add([]);
    };
    const upload = new Upload(one, {
      endpoint: '/api/v1/uploads',
      chunkSize: PIECE,
      retryDelays: [0, 500, 1000, 3000, 5000, 10_000, 20_000],
      metadata: { filename: one.name, filetype: one.type },
      removeFingerprintOnSuccess: true,
      onProgress(sent, all) {
        const part = all > 0 ? sent / all : 0;
        fill.style.transform = `scaleX(${part})`;
        track.setAttribute('aria-valuenow', String(Math.floor(part * 100)));
        const seconds = (performance.now() - begun) / 1000;
        const left = part > 0.01 && seconds > 1 ? ` · ${span((seconds / part) * (1 - part))} left` : '';
        say(value, `${percent(part)} of ${bytes(all)}${left}`);
      },
      onSuccess() {
        const id = upload.url?.split('/').pop();
        submit({ input: `upload:${id}` }, chosen)
          .then(() => over(800))
          .catch((error: unknown) => {
            toast(`${one.name}: ${reason(error)}`, 'bad');
            over(0);
          });
      },
      onError(error) {
        say(value, 'failed');
        toast(`${one.name}: ${reason(error)}`, 'bad');
        over(5000);
      },
    });
    stop.addEventListener('click', () => {
      void upload.abort(true);
      over(0);
    });
    // Where the same file was sent halfway before, it goes on there.
    upload
      .findPreviousUploads()
      .then((earlier) => {
        if (earlier[0]) upload.resumeFromPreviousUpload(earlier[0]);
        upload.start();
      })
      .catch(() => upload.start());
  }

  file.addEventListener('change', () => {
    add(file.files ?? []);
    file.value = '';
  });

  const over = (event: DragEvent): void => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    document.body.classList.add('dragging');
  };
  const out = (event: DragEvent): void => {
    if (!event.relatedTarget) document.body.classList.remove('dragging');
  };
  const drop = (event: DragEvent): void => {
    document.body.classList.remove('dragging');
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  };
  document.addEventListener('dragover', over);
  document.addEventListener('dragleave', out);
  document.addEventListener('drop', drop);
  return {
    element,
    close() {
      document.removeEventListener('dragover', over);
      document.removeEventListener('dragleave', out);
      document.removeEventListener('drop', drop);
    },
  };
}
