// Plays a package, by hls.js or by the browser itself. Encrypted ones get their
// keys from the same server, which knows the login.

import { h, say } from './dom';

export interface Player {
  element: HTMLElement;
  close(): void;
}

export function makePlayer(media: string): Player {
  const video = h('video', { controls: true, playsinline: true, preload: 'metadata' });
  const note = h('p', { class: 'note', role: 'alert', hidden: true });
  const quality = h('select', { 'aria-label': 'Quality', hidden: true });
  const element = h('div', { class: 'player' }, video, h('div', { class: 'under' }, quality, note));
  let close = (): void => {};
  const trouble = (text: string): void => {
    note.hidden = false;
    say(note, text);
  };

  async function open(): Promise<void> {
    const { default: Hls } = await import('hls.js');
    if (!Hls.isSupported()) {
      if (video.canPlayType('application/vnd.apple.mpegurl')) video.src = media;
      else trouble('This browser cannot play HLS.');
      return;
    }
    const hls = new Hls();
    close = () => hls.destroy();
    hls.on(Hls.Events.ERROR, (_, data) => {
      if (data.fatal) trouble(`It cannot be played: ${data.details}`);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      quality.replaceChildren(h('option', { value: -1 }, 'Automatic'));
      hls.levels.forEach((level, place) => {
        quality.append(h('option', { value: place }, `${Math.min(level.height, level.width)}p · ${Math.round(level.bitrate / 1000)} kb/s`));
      });
      quality.hidden = hls.levels.length < 2;
    });
    quality.addEventListener('change', () => {
      hls.nextLevel = Number(quality.value);
    });
    hls.loadSource(media);
    hls.attachMedia(video);
  }

  open().catch(() => trouble('The player could not be loaded.'));
  return { element, close: () => close() };
}
