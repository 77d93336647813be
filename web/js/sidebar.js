// The list of chats: search, rename, pin, delete, export.
import {confirmDialog, download, h, icon, iconButton, openDialog, openMenu, replace} from './dom.js';
import {dateTime, language, t} from './i18n.js';
import {emit, keep, on, state} from './app-state.js';
import {path, textOf, titleOf, toJson, toMarkdown, touch} from './conversation.js';
import {toElement} from './markdown.js';
import {plainFormulas} from './math.js';

const fileName = (conversation) =>
  (titleOf(conversation) || t('untitled'))
    .replace(/[^\p{L}\p{N} _-]+/gu, '')
    .trim()
    .slice(0, 50) || 'chat';
const labels = () => ({untitled: t('untitled'), you: t('you'), assistant: t('assistant'), tool: t('tool_result')});

export function rename(conversation) {
  const box = h('input', {
    class: 'field',
    value: titleOf(conversation),
    'aria-label': t('title_label'),
    autofocus: true,
    maxlength: '200',
  });
  const form = h(
    'form',
    {
      method: 'dialog',
      onsubmit: (event) => {
        event.preventDefault();
        event.target.closest('dialog').close('ok');
      },
    },
    h('label', {class: 'dialog-text'}, t('title_label'), box),
    h(
      'div',
      {class: 'dialog-actions'},
      h(
        'button',
        {type: 'button', class: 'button', onclick: (event) => event.target.closest('dialog').close('')},
        t('cancel'),
      ),
      h('button', {type: 'submit', class: 'button primary'}, t('save')),
    ),
  );
  return openDialog(form, {label: t('rename')}).then((value) => {
    if (value !== 'ok') return;
    conversation.title = box.value.trim();
    touch(conversation, null);
    keep(conversation, {now: true});
    emit('change');
  });
}

const EXPORT_STYLE =
  'body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:17px/1.6 system-ui,sans-serif}' +
  'pre{overflow:auto;padding:1rem;background:#f4f2ee;border-radius:8px}table{border-collapse:collapse}' +
  'td,th{border:1px solid #ccc;padding:.3rem .6rem}.who{color:#666;margin-top:2rem}button{display:none}';

// A page of its own that needs nothing else. Its style is put in as text: the page's own policy forbids to make one.
function exportHtml(conversation) {
  const heading = h('h1', {}, titleOf(conversation));
  const parts = path(conversation).map((node) => [
    h('p', {class: 'who'}, t(node.role === 'user' ? 'you' : node.role === 'tool' ? 'tool_result' : 'assistant')),
    plainFormulas(toElement(node.content)),
  ]);
  const text = (element) => new XMLSerializer().serializeToString(element);
  const title = text(document.createTextNode(titleOf(conversation)));
  download(
    `${fileName(conversation)}.html`,
    'text/html',
    `<!doctype html>\n<html lang="${language()}"><head><meta charset="utf-8"><title>${title}</title>` +
      `<style>${EXPORT_STYLE}</style></head><body>${[heading, ...parts.flat()].map(text).join('\n')}</body></html>\n`,
  );
}

export class Sidebar {
  // `open(conversation)`, `create()`, `remove(conversation)`, `clear(conversation)`, `settings()`
  constructor(place, actions) {
    Object.assign(this, {place, actions, words: ''});
    this.search = h('input', {
      type: 'search',
      class: 'search',
      oninput: () => {
        this.words = this.search.value.trim().toLowerCase();
        this.draw();
      },
    });
    this.list = h('nav', {class: 'chats'});
    on('change', () => this.draw());
    this.build();
  }

  build() {
    this.search.placeholder = t('search_chats');
    this.search.setAttribute('aria-label', t('search_chats'));
    this.list.setAttribute('aria-label', t('chats'));
    replace(
      this.place,
      h(
        'div',
        {class: 'sidebar-head'},
        h('span', {class: 'brand'}, h('span', {class: 'brand-mark', 'aria-hidden': 'true'}), t('app')),
        iconButton('panel', t('sidebar'), () => emit('toggle-sidebar')),
      ),
      h(
        'button',
        {type: 'button', class: 'new-chat', onclick: () => this.actions.create()},
        icon('plus'),
        t('new_chat'),
      ),
      h('label', {class: 'search-frame'}, icon('search'), this.search),
      this.list,
      h(
        'div',
        {class: 'sidebar-foot'},
        h(
          'button',
          {type: 'button', class: 'row-button', onclick: () => this.actions.settings()},
          icon('settings'),
          t('settings'),
        ),
        h('a', {class: 'row-button', href: '/docs/guide', target: '_blank', rel: 'noopener'}, icon('book'), t('guide')),
      ),
    );
    this.draw();
  }

  group(conversation) {
    if (conversation.isPinned) return 'pinned';
    const midnight = new Date().setHours(0, 0, 0, 0);
    const day = 24 * 3600 * 1000;
    if (conversation.updated >= midnight) return 'today';
    if (conversation.updated >= midnight - day) return 'yesterday';
    return conversation.updated >= midnight - 6 * day ? 'this_week' : 'earlier';
  }

  draw() {
    const matching = state.conversations
      .filter((one) => Object.keys(one.nodes).length && (!this.words || textOf(one).toLowerCase().includes(this.words)))
      .sort((a, b) => b.updated - a.updated);
    const groups = ['pinned', 'today', 'yesterday', 'this_week', 'earlier'].map((name) => [
      name,
      matching.filter((one) => this.group(one) === name),
    ]);
    const empty = !matching.length && h('p', {class: 'chats-empty'}, t(this.words ? 'no_match' : 'no_chats'));
    replace(
      this.list,
      empty,
      groups
        .filter(([, all]) => all.length)
        .map(([name, all]) =>
          h(
            'section',
            {},
            h('h2', {}, t(name)),
            h(
              'ul',
              {},
              all.map((one) => this.row(one)),
            ),
          ),
        ),
    );
  }

  row(conversation) {
    const isCurrent = conversation === state.current;
    const title = titleOf(conversation) || t('untitled');
    return h(
      'li',
      {class: isCurrent ? 'chat current' : 'chat'},
      h(
        'button',
        {
          type: 'button',
          class: 'chat-open',
          title: dateTime(conversation.updated),
          'aria-current': isCurrent ? 'true' : null,
          onclick: () => this.actions.open(conversation),
        },
        state.running.has(conversation.id) && h('span', {class: 'pulse', 'aria-hidden': 'true'}),
        h('span', {class: 'chat-title', dir: 'auto'}, title),
      ),
      iconButton('more', `${t('chat_menu')}: ${title}`, (event) => this.menu(event.currentTarget, conversation), {
        'aria-haspopup': 'menu',
        class: 'icon-button chat-more',
      }),
    );
  }

  menu(anchor, conversation) {
    openMenu(anchor, [
      {label: t('rename'), icon: 'edit', run: () => rename(conversation)},
      {
        label: t(conversation.isPinned ? 'unpin' : 'pin'),
        icon: 'pin',
        run: () => {
          conversation.isPinned = !conversation.isPinned;
          touch(conversation, null);
          keep(conversation, {now: true});
          emit('change');
        },
      },
      {
        label: t('export_markdown'),
        icon: 'download',
        run: () => download(`${fileName(conversation)}.md`, 'text/markdown', toMarkdown(conversation, labels())),
      },
      {
        label: t('print'),
        icon: 'file',
        run: () => {
          this.actions.open(conversation);
          requestAnimationFrame(() => window.print());
        },
      },
      {label: t('export_html'), icon: 'download', run: () => exportHtml(conversation)},
      {
        label: t('export_json'),
        icon: 'download',
        run: () => download(`${fileName(conversation)}.json`, 'application/json', toJson([conversation])),
      },
      {
        label: t('clear'),
        icon: 'close',
        run: async () =>
          (await confirmDialog(t('clear_question'), {yes: t('clear'), no: t('cancel')})) &&
          this.actions.clear(conversation),
      },
      {
        label: t('delete'),
        icon: 'trash',
        danger: true,
        run: async () =>
          (await confirmDialog(t('delete_chat_question', {title: titleOf(conversation)}), {
            yes: t('delete'),
            no: t('cancel'),
          })) && this.actions.remove(conversation),
      },
    ]);
  }
}
