// Builds the page into `dist`, which the program takes in when it is compiled.
import { defineConfig } from 'vite';

export default defineConfig({
  build: {
    target: 'es2022',
    // Everything is a file of its own: the page's policy forbids what is written inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  server: {
    // `npm run dev` beside a `forebay serve`.
    proxy: Object.fromEntries(
      ['/api', '/media', '/play', '/keys', '/metrics'].map((path) => [path, 'http://127.0.0.1:8080']),
    ),
  },
});
