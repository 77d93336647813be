// Building the page: elements, icons, small dialogs. Text only ever becomes text; nothing here parses HTML.

const SVG = 'http://www.w3.org/2000/svg';

// h('button', {class: 'x', onclick: f, 'aria-label': '…'}, child, …). Children: nodes, texts, null, or lists of them.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else if (name === 'dataset') Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

const SHAPES = {
  panel: ['M4 5h16v14H4z', 'M10 5v14'],
  plus: ['M12 5v14', 'M5 12h14'],
  search: ['M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14z', 'M20 20l-4-4'],
  settings: ['M4 7h9', 'M17 7h3', 'M15 5v4', 'M4 17h3', 'M11 17h9', 'M9 15v4'],
  send: ['M12 19V6', 'M6 11l6-6 6 6'],
  stop: ['M7 7h10v10H7z'],
  attach: ['M19.5 11.5l-7.6 7.6a4.6 4.6 0 0 1-6.5-6.5l8-8a3 3 0 0 1 4.3 4.3l-8 8a1.5 1.5 0 0 1-2.1-2.1l7.2-7.2'],
  copy: ['M9 9h11v11H9z', 'M5 15H4V4h11v1'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  edit: ['M4 20l1-4.5L16.5 4 20 7.5 8.5 19z'],
  again: ['M20 12a8 8 0 1 1-2.5-5.8', 'M20 3v4h-4'],
  more: ['M5 12h.01', 'M12 12h.01', 'M19 12h.01'],
  left: ['M14 6l-6 6 6 6'],
  right: ['M10 6l6 6-6 6'],
  down: ['M12 5v14', 'M6 13l6 6 6-6'],
  fold: ['M9 6l6 6-6 6'],
  forward: ['M5 5l8 7-8 7z', 'M19 5v14'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  pin: ['M12 21v-6', 'M7 15h10l-1.5-3V5h1V3h-9v2h1v7z'],
  trash: ['M5 7h14', 'M10 7V4h4v3', 'M7 7l1 13h8l1-13'],
  ready: ['M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16z', 'M8.5 12.2l2.4 2.4 4.6-5'],
  busy: ['M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16z', 'M12 8v4.2l2.6 1.6'],
  down_light: ['M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16z', 'M9 9l6 6', 'M15 9l-6 6'],
  file: ['M6 3h8l4 4v14H6z', 'M14 3v4h4'],
  thought: ['M9 18h6', 'M10 21h4', 'M8.5 15a6 6 0 1 1 7 0c-.7.5-1 1-1 2h-5c0-1-.3-1.500-1-2z'],
  tool: ['M14.500 6a4 4 0 0 0 5 5l-8.500 8.500a2 2 0 0 1-3-3L16.500 8'],
  code: ['M8 7l-5 5 5 5', 'M16 7l5 5-5 5'],
  book: ['M5 4h9a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3z', 'M5 17a3 3 0 0 1 3-3h10'],
  download: ['M12 4v11', 'M7 11l5 5 5-5', 'M5 20h14'],
  upload: ['M12 20V9', 'M7 13l5-5 5 5', 'M5 4h14'],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({
    viewBox: '0 0 24 24',
    class: 'icon',
    'data-name': name,
    'aria-hidden': 'true',
    focusable: 'false',
  })) {
    svg.setAttribute(key, value);
  }
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', shape);
    svg.append(path);
  }
  return svg;
}

// A button that is only an icon, with its name for people who do not see it and as a tip for those who do.
export function iconButton(name, label, onclick, attributes = {}) {
  return h(
    'button',
    {type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick, ...attributes},
    icon(name),
  );
}

export function replace(element, ...children) {
  element.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
}

// Shows a <dialog> until it is closed; resolves with its return value. Esc and a click outside close it with ''.
export function openDialog(content, {label, wide = false} = {}) {
  const before = document.activeElement;
  const dialog = h('dialog', {class: wide ? 'dialog wide' : 'dialog', 'aria-label': label}, content);
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close(''));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        dialog.remove();
        before?.focus?.();
        resolve(dialog.returnValue);
      },
      {once: true},
    );
  });
}

// A question with two answers; true for the one that acts.
export function confirmDialog(text, {yes, no}) {
  const close = (value) => (event) => event.target.closest('dialog').close(value);
  return openDialog(
    [
      h('p', {class: 'dialog-text'}, text),
      h(
        'div',
        {class: 'dialog-actions'},
        h('button', {type: 'button', class: 'button', onclick: close('')}, no),
        h('button', {type: 'button', class: 'button danger', onclick: close('yes'), autofocus: true}, yes),
      ),
    ],
    {label: text},
  ).then((value) => value === 'yes');
}

// A short note at the bottom that goes away by itself; `action`: {label, run}.
export function toast(text, action = null) {
  const shelf = document.getElementById('toasts');
  const note = h(
    'div',
    {class: 'toast', role: 'status'},
    h('span', {}, text),
    action &&
      h(
        'button',
        {
          type: 'button',
          class: 'link-button',
          onclick: () => {
            action.run();
            note.remove();
          },
        },
        action.label,
      ),
  );
  shelf.append(note);
  setTimeout(() => note.remove(), action ? 12000 : 5000);
}

// A list of actions under a button. Each: {label, icon, run, danger}.
export function openMenu(anchor, actions) {
  document.querySelector('.menu')?.remove();
  const place = anchor.getBoundingClientRect();
  const finish = () => {
    menu.remove();
    document.removeEventListener('pointerdown', outside, true);
    anchor.setAttribute('aria-expanded', 'false');
  };
  const outside = (event) => !menu.contains(event.target) && finish();
  const menu = h(
    'div',
    {
      class: 'menu',
      role: 'menu',
      onkeydown: (event) => {
        const items = [...menu.querySelectorAll('button')];
        const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
        if (step) {
          event.preventDefault();
          items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
        } else if (event.key === 'Escape' || event.key === 'Tab') {
          event.stopPropagation();
          finish();
          anchor.focus();
        }
      },
    },
    actions.map((action) =>
      h(
        'button',
        {
          type: 'button',
          role: 'menuitem',
          class: action.danger ? 'danger' : null,
          onclick: () => {
            finish();
            anchor.focus();
            action.run();
          },
        },
        icon(action.icon),
        action.label,
      ),
    ),
  );
  document.body.append(menu);
  const left = Math.max(8, Math.min(place.left, innerWidth - menu.offsetWidth - 8));
  const top = place.bottom + menu.offsetHeight + 8 > innerHeight ? place.top - menu.offsetHeight - 4 : place.bottom + 4;
  menu.style.left = `${left}px`;
  menu.style.top = `${Math.max(8, top)}px`;
  anchor.setAttribute('aria-expanded', 'true');
  menu.querySelector('button').focus();
  document.addEventListener('pointerdown', outside, true);
}

// Hands a file to the browser's own download.
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  h('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
