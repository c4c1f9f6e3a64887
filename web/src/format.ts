// Figures for people.

const number = (digits: number) => new Intl.NumberFormat('en', { maximumFractionDigits: digits });
const whole = number(0);
const one = number(1);

/** `1.4 GB` */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let place = 0;
  let rest = value;
  while (rest >= 1000 && place < units.length - 1) {
    rest /= 1000;
    place += 1;
  }
  return `${(rest < 10 && place > 0 ? one : whole).format(rest)} ${units[place]}`;
}

/** `12,345` */
export const count = (value: number): string => whole.format(value);

/** `4 %` */
export const percent = (part: number): string => `${Math.floor(part * 100)} %`;

/** `3.2×` */
export const times = (value: number): string => `${(value < 10 ? one : whole).format(value)}×`;

/** `2:05` or `1:02:05` */
export function clock(seconds: number): string {
  const all = Math.max(0, Math.round(seconds));
  const pad = (part: number) => String(part).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor((all % 3600) / 60), all % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

/** `12 s`, `4 min`, `2 h 10 min` */
export function span(seconds: number): string {
  if (seconds < 10) return `${one.format(Math.max(0, seconds))} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h ${Math.round((seconds % 3600) / 60)} min` : `${Math.round(hours / 24)} days`;
}

/** `just now`, `5 min ago`, or a date. */
export function ago(at: number, now = Date.now()): string {
  const seconds = (now - at) / 1000;
  if (seconds < 45) return 'just now';
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(at).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' });
}

/** The moment in full. */
export const moment = (at: number): string =>
  new Date(at).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
