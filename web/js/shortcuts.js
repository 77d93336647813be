// What keys do, in one table: the handler and the list that people see come from it.
import {t} from './i18n.js';
import {settings} from './app-state.js';

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const CTRL = isMac ? '⌘' : 'Ctrl';

export const shortcutList = () => [
  [settings.enterSends ? ['Enter'] : [CTRL, 'Enter'], t('key_send')],
  [settings.enterSends ? ['Shift', 'Enter'] : ['Enter'], t('key_newline')],
  [['Esc'], t('key_stop')],
  [[CTRL, 'K'], t('key_search')],
  [[CTRL, 'Shift', 'O'], t('key_new')],
  [[CTRL, 'B'], t('key_sidebar')],
  [['↑'], t('key_edit_last')],
  [[CTRL, 'Shift', 'C'], t('key_copy_code')],
  [['Alt', '←'], t('key_branches')],
  [['Alt', '→'], t('key_branches')],
  [['?'], t('key_help')],
];

// `run`: {stop, search, create, sidebar, copyCode, branch(step), help}; stop says whether there was something to stop.
export function listen(run) {
  document.addEventListener('keydown', (event) => {
    if (event.isComposing || document.querySelector('dialog[open], .menu')) return;
    const control = isMac ? event.metaKey : event.ctrlKey;
    const key = event.key.toLowerCase();
    const isTyping = event.target.closest?.('input, textarea, select');
    let action = null;
    if (event.key === 'Escape') action = run.stop;
    else if (control && event.shiftKey && key === 'o') action = run.create;
    else if (control && event.shiftKey && key === 'c') action = run.copyCode;
    else if (control && !event.shiftKey && key === 'k') action = run.search;
    else if (control && !event.shiftKey && key === 'b') action = run.sidebar;
    else if (event.altKey && !isTyping && event.key === 'ArrowLeft') action = () => run.branch(-1);
    else if (event.altKey && !isTyping && event.key === 'ArrowRight') action = () => run.branch(1);
    else if (event.key === '?' && !isTyping) action = run.help;
    if (!action) return;
    if (action() !== false) event.preventDefault();
  });
}
