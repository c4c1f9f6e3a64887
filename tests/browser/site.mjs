#!/usr/bin/env node
// Drives the example website in headless Chromium: uploads a file, waits until
// the webhook has told the site, and plays the encrypted video.
//
//   node site.mjs URL --file VIDEO

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { launch } from './chromium.mjs';

const { values: options, positionals: [url] } = parseArgs({ allowPositionals: true, options: { file: { type: 'string' } } });
const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(120_000);
let keys = 0;
page.on('response', (response) => { if (response.url().includes('/keys/') && response.ok()) keys += 1; });
await page.goto(url);
await page.setInputFiles('input[type=file]', options.file);
await page.locator('li a').waitFor();
const end = Date.now() + 120_000;
while (!(await page.locator('li').textContent()).includes('done')) {
  assert.ok(Date.now() < end, 'the webhook comes in time');
  await page.waitForTimeout(300);
  await page.reload();
}
await page.locator('li a').click();
await page.locator('video').evaluate((video) => { void video.play(); });
await page.waitForFunction(() => document.querySelector('video').currentTime > 0.5);
const currentTime = await page.locator('video').evaluate((video) => video.currentTime);
assert.ok(keys > 0, 'the video is encrypted');
await browser.close();
console.log(JSON.stringify({ currentTime, keys }));
