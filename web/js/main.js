// Starts the page and ties its parts together.
import {choose, t} from './i18n.js';
import {h, iconButton, replace, toast} from './dom.js';
import {ask, askJson} from './api.js';
import {emit, keep, listed, on, settings, state} from './app-state.js';
import * as store from './store.js';
import {addNode, newConversation, path, titleOf, touch} from './conversation.js';
import {answer, resumeAll} from './generate.js';
import {ChatView} from './view-chat.js';
import {Composer} from './composer.js';
import {rename, Sidebar} from './sidebar.js';
import {StatusLight} from './status.js';
import {openSettings} from './settings-dialog.js';
import {lastCode} from './view-message.js';
import {replaceFormulas} from './math.js';
import {listen} from './shortcuts.js';
import {logIn} from './login.js';

const $ = (id) => document.getElementById(id);
const isNarrow = () => matchMedia('(max-width: 760px)').matches;
let chat, composer, sidebar;

// ---- the page as a whole ------------------------------------------------------------------------------------------------

function applySettings() {
  choose(settings.language);
  document.documentElement.dataset.theme = settings.theme;
  const isDark =
    settings.theme === 'dark' || (settings.theme === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.querySelector('meta[name=theme-color]').content = isDark ? '#191a1b' : '#fbfbf9';
  $('skip').textContent = t('skip');
  $('jump').setAttribute('aria-label', t('jump_end'));
  $('jump').title = t('jump_end');
  $('column').setAttribute('aria-label', t('conversation'));
  $('scroller').setAttribute('aria-label', t('conversation'));
  $('drop').textContent = t('drop_here');
}

function showSidebar(isOpen) {
  document.body.classList.toggle('with-sidebar', isOpen);
  $('sidebar').inert = !isOpen;
  $('shade').hidden = !(isOpen && isNarrow());
}

function toggleSidebar() {
  const isOpen = !document.body.classList.contains('with-sidebar');
  showSidebar(isOpen);
  if (!isNarrow()) {
    settings.sidebar = isOpen;
    store.keepSettings();
  }
  if (isOpen && isNarrow()) $('sidebar').querySelector('button')?.focus();
}

function drawHeader() {
  const title = state.current ? titleOf(state.current) : '';
  document.title = title ? `${title} – gale` : 'gale';
  replace(
    $('head-left'),
    iconButton('panel', t('sidebar'), toggleSidebar, {class: 'icon-button open-sidebar'}),
    iconButton('plus', t('new_chat'), create, {class: 'icon-button open-sidebar'}),
  );
  replace(
    $('title'),
    title &&
      h(
        'button',
        {type: 'button', class: 'title-button', title: t('rename'), dir: 'auto', onclick: () => rename(state.current)},
        title,
      ),
  );
  replace(
    $('head-right'),
    iconButton('settings', t('settings'), () => openSettings()),
  );
}

// ---- chats ----------------------------------------------------------------------------------------------------------------

function show(conversation) {
  composer.switchTo(state.current?.id, conversation.id);
  state.current = conversation;
  const isKept = Object.keys(conversation.nodes).length > 0;
  history.replaceState(null, '', isKept ? `#${conversation.id}` : '#');
  chat.follows = true;
  chat.views.clear();
  emit('change');
  if (isNarrow()) showSidebar(false);
}

function create() {
  const isFresh = state.current && !Object.keys(state.current.nodes).length;
  show(isFresh ? state.current : newConversation());
  composer.box.focus();
}

async function remove(conversation) {
  state.running.get(conversation.id)?.stop();
  state.conversations = state.conversations.filter((one) => one !== conversation);
  await store.remove(conversation.id);
  if (conversation === state.current) show(newConversation());
  else emit('change');
}

async function clear(conversation) {
  state.running.get(conversation.id)?.stop();
  Object.assign(conversation, {nodes: {}, active: null, firstSent: null});
  touch(conversation, null);
  await store.put(conversation);
  chat.views.clear();
  emit('change');
}

function send(text, attachments) {
  const conversation = state.current;
  listed(conversation);
  const parent = path(conversation).at(-1)?.id ?? null;
  const node = addNode(conversation, parent, {role: 'user', content: text, ...(attachments.length && {attachments})});
  history.replaceState(null, '', `#${conversation.id}`);
  answer(conversation, node);
}

async function reloadChats() {
  state.conversations = await store.all();
  const kept = state.conversations.find((one) => one.id === state.current?.id);
  show(kept ?? newConversation());
}

async function onOtherTab(message) {
  if (message.kind === 'settings') return;
  if (state.running.has(message.id)) return;
  const at = state.conversations.findIndex((one) => one.id === message.id);
  const fresh = message.kind === 'removed' ? null : await store.load(message.id);
  if (at >= 0 && fresh) {
    const mine = state.conversations[at];
    for (const key of Object.keys(mine)) delete mine[key];
    Object.assign(mine, fresh);
  } else if (at >= 0) {
    const [gone] = state.conversations.splice(at, 1);
    if (gone === state.current) return show(newConversation());
  } else if (fresh) {
    state.conversations.push(fresh);
  }
  emit('change');
}

// A page that stayed open over an upgrade of its server says so.
async function checkVersion() {
  const known = state.assets;
  const now = await askJson('GET', '/ui/state').catch(() => null);
  if (now && known && now.assets !== known) {
    state.assets = null;
    toast(t('new_version'), {label: t('reload'), run: () => location.reload()});
  }
}

// ---- start ----------------------------------------------------------------------------------------------------------------

function onCopy(event) {
  const selection = getSelection();
  if (selection.isCollapsed || event.target.closest?.('input, textarea')) return;
  const fragment = selection.getRangeAt(0).cloneContents();
  if (!fragment.querySelector('.formula')) return;
  const holder = h('div', {}, replaceFormulas(fragment));
  holder.className = 'copy-holder';
  document.body.append(holder);
  event.clipboardData.setData('text/plain', holder.innerText);
  holder.remove();
  event.preventDefault();
}

function build() {
  chat = new ChatView({
    scroller: $('scroller'),
    column: $('column'),
    jump: $('jump'),
    live: $('live'),
    bar: $('context'),
  });
  const stop = () => state.running.get(state.current?.id)?.stop();
  composer = new Composer($('composer'), {send, stop, editLast: () => chat.editLast()});
  sidebar = new Sidebar($('sidebar'), {open: show, create, remove, clear, settings: () => openSettings()});
  new StatusLight($('status'));
  listen({
    stop: () => (state.running.has(state.current?.id) ? (stop(), composer.box.focus()) : false),
    search: () => {
      showSidebar(true);
      sidebar.search.focus();
    },
    create,
    sidebar: toggleSidebar,
    copyCode: async () => {
      const code = lastCode(state.current);
      if (code !== null) {
        await navigator.clipboard.writeText(code);
        toast(t('copied'));
      }
    },
    branch: (step) => {
      const node = chat.focusedNode() ?? path(state.current).findLast((one) => one.role === 'assistant');
      if (node) chat.actions.branch(node, step);
    },
    help: () => openSettings('keys'),
  });
  $('skip').addEventListener('click', () => composer.box.focus());
  $('shade').addEventListener('click', () => showSidebar(false));
  document.addEventListener('copy', onCopy);
  window.addEventListener('pagehide', () => state.running.forEach(({conversation}) => keep(conversation, {now: true})));
  window.addEventListener('focus', checkVersion);
  matchMedia('(max-width: 760px)').addEventListener('change', () => showSidebar(!isNarrow() && settings.sidebar));
  on('change', () => {
    drawHeader();
    chat.show();
  });
  on('models', () => emit('change'));
  on('settings', () => {
    applySettings();
    chat.views.clear();
    sidebar.build();
  });
  on('toggle-sidebar', toggleSidebar);
  on('reload-chats', reloadChats);
  on('quota', () => toast(t('quota'), {label: t('export_all'), run: () => openSettings('data')}));
  on('login-needed', () => location.reload());
  on('new-chat-with', (files) => {
    create();
    composer.add(files);
  });
  on('log-out', async () => {
    await ask('POST', '/ui/logout', {});
    location.reload();
  });
  store.onOtherTab(onOtherTab);
}

async function start() {
  applySettings();
  const server = await askJson('GET', '/ui/state').catch(() => ({}));
  Object.assign(state, {
    assets: server.assets ?? null,
    hasPassword: server.has_password ?? false,
    limits: server.limits ?? state.limits,
  });
  if (server.has_password && !server.is_logged_in) await logIn($('login'));
  const isKept = await store.open();
  state.conversations = await store.all().catch(() => []);
  build();
  showSidebar(!isNarrow() && settings.sidebar);
  $('app').hidden = false;
  resumeAll(state.conversations);
  show(state.conversations.find((one) => one.id === location.hash.slice(1)) ?? newConversation());
  if (!isKept) toast(t('storage_missing'));
  document.documentElement.dataset.ready = 'yes';
  if (!isNarrow()) composer.box.focus();
}

start();
