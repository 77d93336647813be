// The question for the password, where the page asks for one.
import {h, replace} from './dom.js';
import {t} from './i18n.js';
import {ApiError, ask} from './api.js';

// Shows the question in `place`; resolves when the password was right.
export function logIn(place) {
  return new Promise((resolve) => {
    const box = h('input', {
      type: 'password',
      class: 'field',
      autocomplete: 'current-password',
      'aria-label': t('password'),
      placeholder: t('password'),
      required: true,
      autofocus: true,
    });
    const trouble = h('p', {class: 'trouble', role: 'alert'});
    const form = h(
      'form',
      {
        class: 'login',
        onsubmit: async (event) => {
          event.preventDefault();
          try {
            await ask('POST', '/ui/login', {password: box.value});
            place.hidden = true;
            replace(place);
            resolve();
          } catch (error) {
            trouble.textContent =
              error instanceof ApiError && error.status === 429
                ? t('too_many_tries')
                : error.status === 401
                  ? t('wrong_password')
                  : error.message;
            box.select();
          }
        },
      },
      h('span', {class: 'brand-mark big', 'aria-hidden': 'true'}),
      h('h1', {}, t('app')),
      h('p', {}, t('login_text')),
      box,
      trouble,
      h('button', {type: 'submit', class: 'button primary'}, t('log_in')),
    );
    replace(place, form);
    place.hidden = false;
    box.focus();
  });
}
