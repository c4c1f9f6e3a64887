#!/usr/bin/env node
// Drives the server's page in headless Chromium as a person would: logs in, drops
// a file, sees bars move, plays the encrypted video, cancels and retries another.
//
//   node page.mjs URL --token TOKEN --file VIDEO [--shots DIR]
//
// Prints one line of JSON with what was seen. Exit code: 0 all is well, 1 not.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './chromium.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' }, file: { type: 'string' }, shots: { type: 'string' } },
});
const [url] = positionals;
const PATIENCE = 120_000;

// A server that sends so slowly that there is time to cancel, until it is told to hurry.
function slowServer(file) {
  const state = { slow: true };
  const server = http.createServer((request, response) => {
    const bytes = fs.readFileSync(file);
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': bytes.length });
    let sent = 0;
    const more = () => {
      if (response.destroyed || sent >= bytes.length) {
        response.end();
        return;
      }
      const piece = bytes.subarray(sent, sent + (state.slow ? 4096 : bytes.length));
      sent += piece.length;
      response.write(piece);
      setTimeout(more, state.slow ? 200 : 0);
    };
    if (request.method === 'HEAD') response.end();
    else more();
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve({ state, server, url: `http://127.0.0.1:${server.address().port}/slow.mp4` }));
  });
}

// Drops a file on the page, as the browser tells a page of it.
async function drop(page, file, name) {
  const transfer = await page.evaluateHandle(
    ([bytes, name]) => {
      const transfer = new DataTransfer();
      const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([raw], name, { type: 'video/mp4' }));
      return transfer;
    },
    [fs.readFileSync(file).toString('base64'), name],
  );
  await page.dispatchEvent('body', 'dragover', { dataTransfer: transfer });
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer });
}

const seen = { troubles: [] };
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
page.setDefaultTimeout(PATIENCE);
page.on('console', (message) => {
  const text = message.text();
  // A refused login is one of the things that are tried.
  if (message.type() === 'error' && !/status of 401/.test(text)) seen.troubles.push(text);
});
page.on('pageerror', (error) => seen.troubles.push(String(error)));
page.on('dialog', (dialog) => {
  seen.troubles.push(`dialog: ${dialog.message()}`);
  void dialog.dismiss();
});

try {
  await login();
  await watchAndPlay();
  await cancelAndRetry();
  await hostileNames();
  await keyboard();
  await logout();
} catch (error) {
  seen.troubles.push(String(error.stack ?? error));
  if (options.shots) await page.screenshot({ path: path.join(options.shots, 'failed.png') });
}
await browser.close();
console.log(JSON.stringify({ ok: seen.troubles.length === 0, ...seen }));
process.exit(seen.troubles.length === 0 ? 0 : 1);

async function login() {
  await page.goto(url);
  await page.getByLabel('Your token').fill('fby_00000000_wrong');
  await page.keyboard.press('Enter');
  await page.getByText('the token is not valid').waitFor();
  await page.getByLabel('Your token').fill(options.token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('Drop videos here').waitFor();
  await page.getByText('No videos yet').waitFor();
  seen.cookieReadable = await page.evaluate(() => document.cookie.includes('forebay'));
  assert.equal(seen.cookieReadable, false, 'scripts cannot read the login');
}

async function watchAndPlay() {
  await page.getByLabel('Encrypt').check();
  await drop(page, options.file, 'Evening at the lake.mp4');
  const row = page.getByRole('listitem').filter({ hasText: 'Evening at the lake' }).filter({ has: page.locator('.badge') });
  await row.waitFor();
  const widths = new Set();
  const end = Date.now() + PATIENCE;
  while ((await row.getAttribute('data-state')) !== 'done') {
    assert.ok(Date.now() < end, 'the job is done in time');
    assert.notEqual(await row.getAttribute('data-state'), 'dead', await row.textContent());
    for (const name of ['Encode', 'Upload']) {
      const bar = row.getByRole('progressbar', { name });
      const value = await bar.getAttribute('aria-valuenow', { timeout: 500 }).catch(() => null);
      if (value) widths.add(`${name} ${value}`);
    }
    await page.waitForTimeout(60);
  }
  seen.bars = widths.size;
  assert.ok(widths.size >= 3, `bars moved: ${[...widths]}`);
  const keys = page.waitForResponse((response) => response.url().includes('/keys/') && response.status() === 200);
  await row.click();
  await page.getByText('What was made').waitFor();
  seen.renditions = await page.locator('tbody tr').count();
  assert.ok(seen.renditions >= 2, 'renditions are listed');
  const video = page.locator('video');
  await video.evaluate((element) => {
    element.muted = true;
    void element.play();
  });
  seen.keyBytes = (await (await keys).body()).length;
  assert.equal(seen.keyBytes, 16);
  await page.waitForFunction(() => document.querySelector('video').currentTime > 0.5);
  seen.currentTime = await video.evaluate((element) => element.currentTime);
  await page.getByRole('button', { name: 'Check' }).click();
  await page.getByText('no rule is broken').waitFor();
  if (options.shots) await page.screenshot({ path: path.join(options.shots, 'job.png') });
  await page.keyboard.press('Escape');
}

async function cancelAndRetry() {
  const slow = await slowServer(options.file);
  await page.getByLabel('Address of a video').fill(slow.url);
  await page.getByLabel('Encrypt').uncheck();
  await page.getByRole('button', { name: 'Add' }).click();
  const row = page.locator('.job[data-state=running]').filter({ hasText: 'slow' });
  await row.waitFor();
  await row.click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('.page[data-state=cancelled]').waitFor();
  slow.state.slow = false;
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.locator('.page[data-state=done]').waitFor();
  seen.retried = true;
  slow.server.close();
  slow.server.closeAllConnections();
  await page.getByRole('link', { name: 'All jobs' }).click();
}

async function hostileNames() {
  const evil = '<img src=x onerror="window.hacked=1">"\'`${1}<script>window.hacked=2</script>';
  await drop(page, import.meta.filename ?? process.argv[1], `${evil}.mp4`);
  const row = page.locator('.job[data-state=dead]').first();
  await row.waitFor();
  assert.ok((await row.textContent()).includes('<img src=x'), 'a title is text');
  await row.click();
  await page.locator('.page[data-state=dead] .log li').first().waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined, 'no script ran');
  await page.getByRole('link', { name: 'All jobs' }).click();
  seen.hostile = true;
}

async function keyboard() {
  await page.locator('.job').first().waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('evening lake');
  await page.waitForFunction(() => document.querySelectorAll('.job').length === 1);
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.querySelectorAll('.job').length === 3);
  await page.getByRole('button', { name: /^Failed/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('.job').length === 1);
  await page.getByRole('button', { name: /^All/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('.job').length === 3);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.locator('.page h1').waitFor();
  await page.keyboard.press('Escape');
  seen.keyboard = true;
}

async function logout() {
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Your token').waitFor();
}
