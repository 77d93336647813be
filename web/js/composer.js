// The box in which a message is written, with its files.
import {h, icon, iconButton, replace, toast} from './dom.js';
import {number, t} from './i18n.js';
import {effective, emit, keep, on, settings, state} from './app-state.js';
import {asText, readFile} from './attachments.js';

const LONG_PASTE = 4000; // characters: longer ones become a file

export class Composer {
  // `send(text, attachments)`, `stop()`, `editLast()`
  constructor(place, {send, stop, editLast}) {
    Object.assign(this, {send, stop, editLast, files: [], drafts: new Map()});
    this.box = h('textarea', {
      class: 'message-box',
      id: 'message',
      rows: '1',
      dir: 'auto',
      enterkeyhint: 'send',
      autocomplete: 'off',
    });
    this.list = h('ul', {class: 'files'});
    this.picker = h('input', {
      type: 'file',
      multiple: true,
      hidden: true,
      onchange: () => {
        this.add([...this.picker.files]);
        this.picker.value = '';
      },
    });
    this.attach = iconButton('attach', '', () => this.picker.click());
    this.think = h('button', {type: 'button', class: 'chip', onclick: () => this.toggleThinking()});
    this.button = h('button', {type: 'submit', class: 'send'});
    this.form = h(
      'form',
      {
        class: 'composer',
        onsubmit: (event) => {
          event.preventDefault();
          this.act();
        },
      },
      this.list,
      this.box,
      h('div', {class: 'composer-row'}, this.attach, this.think, h('span', {class: 'spring'}), this.button),
      this.picker,
    );
    replace(place, this.form);
    this.box.addEventListener('input', () => this.grow());
    this.box.addEventListener('keydown', (event) => this.onKey(event));
    document.addEventListener('paste', (event) => this.onPaste(event));
    document.addEventListener('dragover', (event) => {
      if (event.dataTransfer?.types.includes('Files')) {
        event.preventDefault();
        document.body.classList.add('dropping');
      }
    });
    document.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) document.body.classList.remove('dropping');
    });
    document.addEventListener('drop', (event) => {
      document.body.classList.remove('dropping');
      if (event.dataTransfer?.files.length) {
        event.preventDefault();
        this.add([...event.dataTransfer.files]);
      }
    });
    on('change', () => this.update());
    on('draft', (text) => {
      this.box.value = text;
      this.grow();
      this.box.focus();
    });
    this.update();
  }

  get isBusy() {
    return state.running.has(state.current?.id);
  }

  update() {
    this.box.placeholder = t('message_placeholder');
    this.box.setAttribute('aria-label', t('message'));
    for (const attribute of ['aria-label', 'title']) {
      this.attach.setAttribute(
        attribute,
        `${t('attach')} (${t('file_limits', {mb: Math.round(state.limits.upload_bytes / 1e6)})})`,
      );
      this.button.setAttribute(attribute, t(this.isBusy ? 'stop' : 'send'));
      this.think.setAttribute(attribute, t('thinking_toggle'));
    }
    const isOff = effective(state.current).thinking === 'off';
    this.think.setAttribute('aria-pressed', String(!isOff));
    replace(this.think, icon('thought'), t(isOff ? 'thinking_off' : 'thinking_on'));
    replace(this.button, icon(this.isBusy ? 'stop' : 'send'));
    this.button.classList.toggle('is-stop', this.isBusy);
    this.updateSend();
  }

  updateSend() {
    const isEmpty = !this.box.value.trim() && !this.files.length;
    this.button.disabled = !this.isBusy && (isEmpty || this.files.some((file) => !file.isReady));
  }

  toggleThinking() {
    const isOff = effective(state.current).thinking === 'off';
    state.current.settings.thinking = isOff ? 'on' : 'off';
    keep(state.current);
    emit('change');
  }

  // What was typed belongs to its chat.
  switchTo(from, to) {
    if (from) this.drafts.set(from, {text: this.box.value, files: this.files});
    const draft = this.drafts.get(to) ?? {text: '', files: []};
    this.box.value = draft.text;
    this.files = draft.files;
    this.drawFiles();
    this.grow();
    this.update();
  }

  grow() {
    this.box.style.height = 'auto';
    this.box.style.height = `${Math.min(this.box.scrollHeight, innerHeight * 0.4)}px`;
    this.updateSend();
  }

  act() {
    if (this.isBusy) return this.stop();
    if (this.button.disabled) return;
    const text = this.box.value.trim();
    const attachments = this.files.map(({name, text: content, tokens}) => ({name, text: content, tokens}));
    this.box.value = '';
    this.files = [];
    this.drawFiles();
    this.grow();
    this.send(text, attachments);
    this.box.focus();
  }

  onKey(event) {
    if (event.isComposing || event.keyCode === 229) return; // the Enter that ends a composition is not ours
    const sends = event.ctrlKey || event.metaKey || (settings.enterSends && !event.shiftKey);
    if (event.key === 'Enter' && sends) {
      event.preventDefault();
      if (!this.isBusy) this.act();
    } else if (event.key === 'ArrowUp' && !this.box.value && !event.shiftKey) {
      event.preventDefault();
      this.editLast();
    }
  }

  onPaste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      return this.add(files);
    }
    if (event.target !== this.box) return;
    const text = event.clipboardData.getData('text/plain');
    if (text.length < LONG_PASTE) return;
    event.preventDefault();
    this.add([asText(new File([text], `${t('pasted_text')}.txt`, {type: 'text/plain'}))]);
  }

  async add(files) {
    await Promise.all(
      files.map(async (file) => {
        const entry = {name: file.name, isReady: false, text: '', tokens: null};
        this.files.push(entry);
        this.drawFiles();
        try {
          await readFile(file, entry, () => this.drawFiles());
          entry.isReady = true;
        } catch (error) {
          this.files = this.files.filter((other) => other !== entry);
          toast(t('file_failed', {name: file.name, why: error.message}));
        }
        this.drawFiles();
      }),
    );
  }

  drawFiles() {
    replace(
      this.list,
      this.files.map((file) =>
        h(
          'li',
          {class: 'file'},
          icon('file'),
          h('span', {class: 'file-name'}, file.name),
          h(
            'span',
            {class: 'file-note'},
            !file.isReady
              ? t('file_reading', {name: ''})
              : file.tokens === null
                ? ''
                : t('file_tokens', {n: number(file.tokens)}),
          ),
          file.numPages > 1 &&
            h('input', {
              class: 'file-pages',
              value: file.pages,
              'aria-label': `${t('file_pages')}: ${file.name}`,
              title: t('file_pages_of', {n: file.numPages}),
              onchange: (event) => {
                file.choosePages(event.target.value);
                this.drawFiles();
              },
            }),
          iconButton('close', t('file_remove', {name: file.name}), () => {
            this.files = this.files.filter((other) => other !== file);
            this.drawFiles();
          }),
        ),
      ),
    );
    this.list.hidden = !this.files.length;
    this.updateSend();
  }
}
