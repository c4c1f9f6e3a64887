#!/usr/bin/env node
// Plays a package in headless Chromium by hls.js or shaka-player, every level in
// turn, and prints one line of JSON that says what was seen and what was missing.
//
//   node play.mjs DIR [--master PATH|URL] [--player hls|shaka] [--keys DIR] [--encrypted] [--clear-key ID:KEY] [--seconds N] [--port N]
//
// DIR is served on a free port of 127.0.0.1, or --port, and --keys DIR under /keys/ there.
// A URL of the master playlist is played from its own server, with keys from here.
// --clear-key gives shaka-player the key of a package encrypted by samples, in hex.
// Exit code: 0 plays, 1 does not, 2 usage, 3 no browser.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const mime = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.m4s': 'video/iso.segment',
  '.mp4': 'video/mp4',
  '.mpd': 'application/dash+xml',
  '.ts': 'video/mp2t',
  '.vtt': 'text/vtt',
};

function readArguments() {
  const options = {
    master: { type: 'string', default: 'master.m3u8' },
    keys: { type: 'string' },
    encrypted: { type: 'boolean', default: false },
    player: { type: 'string', default: 'hls' },
    'clear-key': { type: 'string', default: '' },
    seconds: { type: 'string', default: '9' },
    port: { type: 'string', default: '0' },
  };
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (positionals.length !== 1) throw new Error('one DIR is wanted');
    return { ...values, dir: positionals[0] };
  } catch (error) {
    console.error(`play.mjs: ${error.message}`);
    process.exit(2);
  }
}

function findBrowser() {
  const names = [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].filter(Boolean);
  const folders = process.env.PATH.split(path.delimiter);
  const candidates = names.flatMap((name) => (name.includes('/') ? [name] : folders.map((dir) => path.join(dir, name))));
  const found = candidates.find((file) => fs.existsSync(file));
  if (!found) {
    console.error('play.mjs: no Chromium here; run `make setup-test` or set CHROMIUM');
    process.exit(3);
  }
  return found;
}

const libraries = {
  '/hls.js': 'hls.js/dist/hls.min.js',
  '/shaka.js': 'shaka-player/dist/shaka-player.compiled.js',
};

// The file that a request names, or nothing when it names one outside.
function locate(pathname, { dir, keys }) {
  if (pathname === '/') return path.join(here, 'page.html');
  const library = libraries[pathname];
  if (library) return createRequire(import.meta.url).resolve(library);
  const [root, rest] = keys && pathname.startsWith('/keys/') ? [keys, pathname.slice(5)] : [dir, pathname];
  const file = path.join(path.resolve(root), rest);
  return file.startsWith(path.resolve(root) + path.sep) ? file : undefined;
}

function sendFile(file, request, response) {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) {
    response.writeHead(404).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
  response.writeHead(range ? 206 : 200, {
    'access-control-allow-origin': '*',
    'cache-control': 'no-store',
    'content-length': end - start + 1,
    'content-type': mime[path.extname(file)] ?? 'application/octet-stream',
    ...(range && { 'content-range': `bytes ${start}-${end}/${size}` }),
  });
  if (end < start) response.end();
  else fs.createReadStream(file, { start, end }).pipe(response);
}

// Serves until the page posts what it saw.
function startServer(options) {
  const log = [];
  const server = http.createServer((request, response) => {
    const pathname = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    if (pathname === '/favicon.ico') {
      response.writeHead(204).end();
      return;
    }
    if (pathname === '/seen') {
      let body = '';
      request.on('data', (part) => { body += part; });
      request.on('end', () => {
        response.end();
        server.emit('seen', JSON.parse(body));
      });
      return;
    }
    const file = locate(pathname, options);
    response.on('finish', () => log.push({ pathname, status: response.statusCode }));
    if (file) sendFile(file, request, response);
    else response.writeHead(404).end();
  });
  const seen = new Promise((resolve) => { server.once('seen', resolve); });
  return new Promise((resolve) => {
    server.listen(Number(options.port), '127.0.0.1', () => resolve({ server, seen, log, port: server.address().port }));
  });
}

function startBrowser(url, profile) {
  const flags = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--mute-audio', '--no-first-run',
    '--autoplay-policy=no-user-gesture-required', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--remote-debugging-port=0', `--user-data-dir=${profile}`,
  ];
  // A group of its own, so that the end reaches every process of the browser.
  return spawn(findBrowser(), [...flags, url], { stdio: 'ignore', detached: true });
}

async function stopBrowser(browser, profile) {
  const gone = browser.exitCode !== null ? Promise.resolve() : new Promise((resolve) => { browser.once('exit', resolve); });
  try {
    process.kill(-browser.pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
  await gone;
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

// Everything that keeps this from being a good playback, one line each.
function faults(seen, log, { encrypted }) {
  const list = seen.errors.filter((error) => error.fatal).map((error) => `fatal: ${error.details} ${error.reason}`);
  if (seen.levels.length === 0) list.push('nothing played');
  for (const level of seen.levels) {
    const name = `${level.height}p`;
    if (!level.shown) list.push(`${name} was never shown`);
    if (!(level.advanced > 0.5)) list.push(`${name} stood still`);
    if (!(level.videoBytes > 0 && level.frames > 0)) list.push(`${name} decoded no picture`);
    if (!(level.audioBytes > 0)) list.push(`${name} decoded no sound`);
  }
  if (seen.levels.length > 1 && seen.switches.length < 2) list.push('no level switch happened');
  for (const { pathname, status } of log) if (status >= 400) list.push(`${status} ${pathname}`);
  const keyRequests = log.filter(({ pathname }) => pathname.startsWith('/keys/')).length;
  if (encrypted && keyRequests === 0) list.push('no key was asked for');
  return { list, keyRequests };
}

const options = readArguments();
const { server, seen, log, port } = await startServer(options);
const { master, player, seconds } = options;
const query = new URLSearchParams({ master: master.includes('://') ? master : `/${master}`, player, seconds, clearKey: options['clear-key'] });
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'forebay-browser-'));
const browser = startBrowser(`http://127.0.0.1:${port}/?${query}`, profile);

const failed = (details) => ({ errors: [{ fatal: true, details, reason: '' }], levels: [], switches: [] });
const limit = new Promise((resolve) => { setTimeout(resolve, 120_000, failed('no answer in 120 s')).unref(); });
const ended = new Promise((resolve) => { browser.once('exit', () => resolve(failed('the browser ended'))); });
const result = await Promise.race([seen, limit, ended]);
await stopBrowser(browser, profile);
server.close();
server.closeAllConnections();

const { list, keyRequests } = faults(result, log, options);
console.log(JSON.stringify({ ok: list.length === 0, faults: list, keyRequests, requests: log.length, ...result }));
process.exitCode = list.length === 0 ? 0 : 1;
