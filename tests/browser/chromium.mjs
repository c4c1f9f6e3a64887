// Starts the system's Chromium, which must not look beyond this machine.

import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--mute-audio', '--no-first-run',
  '--autoplay-policy=no-user-gesture-required', '--disable-background-networking', '--disable-component-update',
  '--disable-sync',
];

function find() {
  const names = [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].filter(Boolean);
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const candidates = names.flatMap((name) => (name.includes('/') ? [name] : folders.map((dir) => path.join(dir, name))));
  const found = candidates.find((file) => fs.existsSync(file));
  if (!found) throw new Error('no Chromium here; run `make setup-test` or set CHROMIUM');
  return found;
}

export const launch = () => chromium.launch({ executablePath: find(), args: FLAGS });
