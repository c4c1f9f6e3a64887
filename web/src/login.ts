// The way in: a token, which becomes a cookie that scripts cannot read.

import { ask, reason } from './api';
import { h, say } from './dom';

export function makeLogin(done: () => void): HTMLElement {
  const token = h('input', {
    type: 'password',
    id: 'token',
    autocomplete: 'current-password',
    required: true,
    placeholder: 'fby_…',
    'aria-describedby': 'why',
  });
  const why = h('p', { id: 'why', class: 'note', role: 'alert' });
  const form = h(
    'form',
    { class: 'login panel' },
    h('h1', {}, 'Forebay'),
    h('label', { for: 'token' }, 'Your token'),
    token,
    h('button', { type: 'submit', class: 'primary' }, 'Log in'),
    why,
    h('p', { class: 'dim' }, 'An administrator makes one with ', h('code', {}, 'forebay token add NAME --scope admin'), '.'),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    ask('login', 'POST', { token: token.value.trim() })
      .then(done)
      .catch((error: unknown) => {
        say(why, reason(error));
        token.select();
      });
  });
  setTimeout(() => token.focus());
  return h('main', { id: 'main', class: 'gate' }, form);
}
