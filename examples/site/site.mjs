// A video website: takes uploads, has them made by Forebay, shows players. No
// dependencies but hls.js for browsers. See README.md beside it for how to start it.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';

const { FOREBAY, TOKEN, SECRET, PORT = '3000' } = process.env;
const videos = new Map(); // A real site keeps them in its database.
const player = readFileSync(createRequire(import.meta.url).resolve('hls.js/dist/hls.min.js'));
const safe = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
const page = (body) => `<!doctype html><meta charset="utf-8"><title>Videos</title><h1>Videos</h1>${body}`;
const ask = (path, body, type = 'application/json', method = 'POST') =>
  fetch(`${FOREBAY}/api/v1/${path}`, { method, body, duplex: 'half', headers: { authorization: `Bearer ${TOKEN}`, 'content-type': type } }).then((answer) => answer.json());

async function answer(request, response) {
  const [, what, id] = new URL(request.url, 'http://site').pathname.split('/');
  if (what === 'hls.js') return [player, 'text/javascript'];
  if (request.method === 'PUT' && what === 'upload') {
    const upload = await ask(`uploads/${id}`, request, 'application/octet-stream', 'PUT');
    const job = await ask('jobs', JSON.stringify({ input: upload.input, options: { encrypt: 'aes-128' } }));
    videos.set(job.id, job);
    return [job.id];
  }
  if (request.method === 'POST' && what === 'hook') {
    const body = Buffer.concat(await request.toArray());
    const signed = `${request.headers['webhook-id']}.${request.headers['webhook-timestamp']}.${body}`;
    const code = createHmac('sha256', Buffer.from(SECRET.replace('whsec_', ''), 'base64')).update(signed).digest();
    const ours = String(request.headers['webhook-signature']).split(' ').some((one) => {
      const theirs = Buffer.from(one.replace('v1,', ''), 'base64');
      return theirs.length === code.length && timingSafeEqual(theirs, code);
    });
    const fresh = Math.abs(Date.now() / 1000 - Number(request.headers['webhook-timestamp'])) < 300;
    if (!ours || !fresh) return ['not from Forebay', 'text/plain', 401];
    const { data } = JSON.parse(body);
    videos.set(data.id, data);
    return ['thanks'];
  }
  if (what === 'watch' && videos.get(id)?.state === 'done') {
    const { play } = await ask('grants', JSON.stringify({ video: videos.get(id).video, seconds: 3600 }));
    return [page(`<video controls muted data-src="${safe(new URL(play, FOREBAY))}" width="640"></video><script src="/hls.js"></script>
      <script>const video = document.querySelector('video'), hls = new Hls(); hls.loadSource(video.dataset.src); hls.attachMedia(video);</script>`), 'text/html'];
  }
  const list = [...videos.values()].map((video) => `<li><a href="/watch/${video.id}">${safe(video.title ?? video.id)}</a> ${safe(video.state)}`);
  return [page(`<input type="file"><ul>${list.join('')}</ul><script>document.querySelector('input').onchange = async ({ target: { files: [file] } }) => {
      await fetch('/upload/' + encodeURIComponent(file.name), { method: 'PUT', body: file }); location.reload(); };</script>`), 'text/html'];
}

http
  .createServer((request, response) =>
    answer(request, response)
      .catch((error) => [String(error), 'text/plain', 500])
      .then(([body, type = 'text/plain', status = 200]) => response.writeHead(status, { 'content-type': type }).end(body)),
  )
  .listen(Number(PORT), '127.0.0.1', () => console.log(`the site is at http://127.0.0.1:${PORT}/`));
