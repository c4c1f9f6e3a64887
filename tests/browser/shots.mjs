#!/usr/bin/env node
// Takes the pictures of the page that the guide shows: list and job, light and dark, desktop and phone.
//
//   node shots.mjs URL --token TOKEN --to DIR [--job TITLE]
//
// Bring jobs to the server first, so that there is something to see: some done, some running, some that failed.

import path from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './chromium.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' }, to: { type: 'string' }, job: { type: 'string' } },
});
const [url] = positionals;
const screens = { desktop: { width: 1280, height: 840, scale: 1 }, phone: { width: 390, height: 844, scale: 2 } };

const browser = await launch();
for (const [screen, { width, height, scale }] of Object.entries(screens)) {
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: scale, colorScheme });
    const page = await context.newPage();
    await page.goto(url);
    await page.getByLabel('Your token').fill(options.token);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.locator('.job').first().waitFor();
    // The timeline is drawn with the first figures, a second later.
    await page.waitForTimeout(2500);
    const shot = (name) => page.screenshot({ path: path.join(options.to, `${name}-${screen}-${colorScheme}.png`) });
    await shot('serve');
    if (options.job) {
      await page.locator('.job').filter({ hasText: options.job }).first().click();
      const video = page.locator('video');
      await video.waitFor();
      await video.evaluate((element) => {
        element.muted = true;
        element.currentTime = 1;
      });
      await page.waitForFunction(() => document.querySelector('video').readyState >= 3 && !document.querySelector('video').seeking);
      await page.waitForTimeout(1500);
      await shot('job');
    }
    await context.close();
  }
}
await browser.close();
