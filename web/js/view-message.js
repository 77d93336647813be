// One message on the page.
import {h, icon, iconButton, openMenu, replace, toast} from './dom.js';
import {number, duration, t} from './i18n.js';
import {MarkdownView} from './markdown.js';
import {settings, state} from './app-state.js';
import {path, siblings} from './conversation.js';
import {developerView} from './view-developer.js';

async function copyText(text) {
  await navigator.clipboard.writeText(text);
  toast(t('copied'));
}

// The answer as a word processor takes it, with its Markdown for all others.
async function copyRich(node, body) {
  const {replaceFormulas} = await import('./math.js');
  const copy = replaceFormulas(body.cloneNode(true));
  copy.querySelectorAll('.code-bar').forEach((bar) => bar.remove());
  const html = new XMLSerializer().serializeToString(copy);
  await navigator.clipboard.write([
    new ClipboardItem({
      'text/html': new Blob([html], {type: 'text/html'}),
      'text/plain': new Blob([node.content], {type: 'text/plain'}),
    }),
  ]);
  toast(t('copied'));
}

const FINISH = {
  stop: 'finish_stop',
  length: 'finish_length',
  stopped: 'finish_stopped',
  error: 'finish_error',
  cut: 'finish_cut',
  tool_calls: 'finish_tool_calls',
};

export class MessageView {
  // `actions`: {edit(node, text), regenerate(node), goOn(node), branch(node, step), toolResults(node, texts)}
  constructor(node, actions) {
    Object.assign(this, {node, actions, isEditing: false});
    this.element = h('article', {
      class: `message ${node.role}`,
      'data-id': node.id,
      tabindex: '-1',
      'aria-label': t(node.role === 'user' ? 'you' : node.role === 'tool' ? 'tool_result' : 'assistant'),
    });
    if (node.role === 'assistant') this.buildAnswer();
    this.update();
  }

  buildAnswer() {
    this.thinkingText = h('div', {class: 'markdown thinking-text'});
    this.thinkingView = new MarkdownView(this.thinkingText);
    this.thinkingLabel = h('span', {});
    this.thinkingButton = h(
      'button',
      {
        type: 'button',
        class: 'thinking-head',
        'aria-expanded': 'false',
        onclick: () => this.foldThinking(!this.isFolded, true),
      },
      icon('thought'),
      this.thinkingLabel,
      icon('fold'),
    );
    this.thinking = h('section', {class: 'thinking', hidden: true}, this.thinkingButton, this.thinkingText);
    this.body = h('div', {class: 'markdown answer'});
    this.view = new MarkdownView(this.body);
    this.tools = h('div', {class: 'tools'});
    this.notice = h('div', {class: 'notice-place'});
    this.footer = h('footer', {class: 'message-footer'});
    this.developer = h('div', {});
    this.isFolded = true;
    this.wasTouched = false;
    this.element.append(this.thinking, this.body, this.tools, this.notice, this.footer, this.developer);
  }

  get generation() {
    const generation = state.current && state.running.get(state.current.id);
    return generation?.node === this.node ? generation : null;
  }

  update() {
    if (this.node.role === 'assistant') this.updateAnswer();
    else if (this.node.role === 'tool') this.updateToolResult();
    else this.updateUser();
  }

  // ---- what was asked -------------------------------------------------------------------------------------------------

  updateUser() {
    if (this.isEditing) return;
    const {node} = this;
    replace(
      this.element,
      node.attachments?.length &&
        h(
          'ul',
          {class: 'files'},
          node.attachments.map((file) =>
            h(
              'li',
              {class: 'file'},
              icon('file'),
              h('span', {class: 'file-name'}, file.name),
              file.tokens && h('span', {class: 'file-note'}, t('file_tokens', {n: number(file.tokens)})),
            ),
          ),
        ),
      node.content && h('div', {class: 'bubble', dir: 'auto'}, node.content),
      h(
        'footer',
        {class: 'message-footer'},
        this.branches(),
        iconButton('copy', t('copy'), () => copyText(node.content)),
        iconButton('edit', t('edit'), () => this.edit()),
      ),
    );
  }

  updateToolResult() {
    const ms = this.node.tookMs;
    const took = ms && h('span', {class: 'took'}, t('tool_took', {time: duration(ms)}));
    replace(
      this.element,
      h(
        'details',
        {class: 'tool-result'},
        h('summary', {}, icon('tool'), t('tool_result'), took),
        h('pre', {tabindex: '0'}, this.node.content),
      ),
    );
  }

  edit() {
    this.isEditing = true;
    const box = h('textarea', {
      class: 'edit-box',
      'aria-label': t('edit'),
      value: this.node.content,
      rows: '3',
      dir: 'auto',
    });
    const leave = () => {
      this.isEditing = false;
      this.update();
    };
    const send = () => {
      this.isEditing = false;
      this.actions.edit(this.node, box.value);
      this.update();
    };
    box.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Escape') {
        event.stopPropagation();
        leave();
      }
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || (settings.enterSends && !event.shiftKey))) {
        event.preventDefault();
        send();
      }
    });
    replace(
      this.element,
      h(
        'div',
        {class: 'edit-frame'},
        box,
        h(
          'div',
          {class: 'dialog-actions'},
          h('button', {type: 'button', class: 'button', onclick: leave}, t('cancel')),
          h('button', {type: 'button', class: 'button primary', onclick: send}, t('send_edited')),
        ),
      ),
    );
    box.style.height = `${Math.min(box.scrollHeight + 4, innerHeight / 2)}px`;
    box.focus();
  }

  branches() {
    const all = siblings(state.current, this.node);
    if (all.length < 2) return null;
    const at = all.indexOf(this.node);
    return h(
      'span',
      {class: 'branches'},
      iconButton('left', t('previous_branch'), () => this.actions.branch(this.node, -1), {disabled: at === 0}),
      h(
        'span',
        {class: 'branch-count', 'aria-label': t('branch_of', {n: at + 1, m: all.length})},
        `${at + 1}/${all.length}`,
      ),
      iconButton('right', t('next_branch'), () => this.actions.branch(this.node, 1), {disabled: at === all.length - 1}),
    );
  }

  // ---- the answer -----------------------------------------------------------------------------------------------------

  updateAnswer() {
    const {node, generation} = this;
    this.element.classList.toggle('running', Boolean(generation));
    this.paint();
    this.updateTools();
    this.updateNotice();
    replace(this.footer, generation ? null : this.answerFooter());
    if (settings.developer && !generation) developerView(this.developer, node);
    else replace(this.developer);
  }

  // The part that is called for arriving tokens.
  paint() {
    const {node, generation} = this;
    this.paintThinking();
    this.view.show(node.content, {isFinal: !generation});
    const isWaiting = Boolean(generation) && !node.content && !node.reasoning && !node.toolCalls;
    this.element.classList.toggle('waiting', isWaiting);
    if (isWaiting && !this.body.childElementCount) {
      const ahead = state.status.numWaiting ?? 0;
      replace(
        this.footer,
        h(
          'span',
          {class: 'waiting-text', role: 'status'},
          h('span', {class: 'dots', 'aria-hidden': 'true'}, h('i'), h('i'), h('i')),
          ahead > 0 ? t('place_in_line', {n: number(ahead)}) : t('waiting'),
        ),
      );
    } else if (generation) {
      const rate = generation.tokensPerSecond;
      replace(
        this.footer,
        h(
          'span',
          {class: 'numbers'},
          generation.isBroken ? t('resuming') : rate ? t('numbers_rate', {n: number(rate, rate < 20 ? 1 : 0)}) : '',
        ),
      );
    }
    if (generation && node.toolCalls) this.updateTools();
  }

  paintThinking() {
    const {node, generation} = this;
    this.thinking.hidden = !node.reasoning?.trim();
    if (this.thinking.hidden) return;
    const isThinking = Boolean(generation) && !node.content && !node.toolCalls;
    this.thinking.classList.toggle('now', isThinking);
    if (!this.wasTouched) this.foldThinking(!isThinking, false);
    const tokens = node.numbers?.reasoning ? ` · ${t('thought_tokens', {n: number(node.numbers.reasoning)})}` : '';
    this.thinkingLabel.textContent = isThinking
      ? t('thinking_now')
      : (node.thinkMs ? t('thought_for', {time: duration(node.thinkMs)}) : t('thought')) + tokens;
    if (!this.isFolded) {
      this.thinkingView.show(node.reasoning, {isFinal: !isThinking});
      if (isThinking) this.thinkingText.scrollTop = this.thinkingText.scrollHeight;
    }
  }

  foldThinking(isFolded, byHand) {
    this.isFolded = isFolded;
    this.wasTouched ||= byHand;
    this.thinking.classList.toggle('folded', isFolded);
    this.thinkingButton.setAttribute('aria-expanded', String(!isFolded));
    if (!isFolded && this.node.reasoning) this.thinkingView.show(this.node.reasoning, {isFinal: !this.generation});
  }

  updateTools() {
    const {node} = this;
    const calls = node.toolCalls ?? [];
    const isOpen = !this.generation && node.finish === 'tool_calls' && !node.active;
    if (isOpen && this.tools.querySelector('textarea')) return;
    const boxes = [];
    replace(
      this.tools,
      calls.map((call) => {
        let shown = call.arguments;
        try {
          shown = JSON.stringify(JSON.parse(call.arguments), null, 2);
        } catch {
          /* still arriving */
        }
        const box =
          isOpen &&
          h('textarea', {
            class: 'tool-box',
            rows: '2',
            placeholder: t('tool_result_placeholder'),
            'aria-label': `${t('tool_result')}: ${call.name}`,
          });
        if (box) boxes.push(box);
        return h(
          'section',
          {class: 'tool'},
          h('header', {}, icon('tool'), h('strong', {}, call.name)),
          h('pre', {tabindex: '0', 'aria-label': t('tool_arguments')}, shown),
          box,
        );
      }),
      isOpen &&
        calls.length &&
        h(
          'div',
          {class: 'tool-send'},
          h('p', {}, t('tool_note')),
          h(
            'button',
            {
              type: 'button',
              class: 'button primary',
              onclick: () =>
                this.actions.toolResults(
                  node,
                  boxes.map((box) => box.value),
                ),
            },
            t('tool_send_result'),
          ),
        ),
    );
  }

  updateNotice() {
    const {node, generation} = this;
    const canGoOn = ['stopped', 'length', 'cut'].includes(node.finish) && node.content;
    const goOn =
      canGoOn &&
      h(
        'button',
        {type: 'button', class: 'button small', onclick: () => this.actions.goOn(node)},
        icon('forward'),
        t('continue'),
      );
    const again = h(
      'button',
      {type: 'button', class: 'button small', onclick: () => this.actions.regenerate(node)},
      icon('again'),
      t('retry'),
    );
    let notice = null;
    if (!generation && node.finish === 'error') {
      notice = h(
        'div',
        {class: 'notice error', role: 'alert'},
        h('strong', {}, t('failed_title')),
        h('p', {}, node.error?.message ?? ''),
        h('div', {class: 'notice-actions'}, again, node.content && goOn),
      );
    } else if (!generation && node.finish === 'cut') {
      notice = h(
        'div',
        {class: 'notice'},
        h('p', {}, t('interrupted')),
        h('div', {class: 'notice-actions'}, goOn, again),
      );
    } else if (!generation && canGoOn) {
      notice = h('div', {class: 'notice quiet'}, h('span', {}, t(FINISH[node.finish])), goOn);
    }
    replace(this.notice, notice);
  }

  answerFooter() {
    const {node} = this;
    return [
      this.branches(),
      iconButton('copy', t('copy'), () => copyText(node.content)),
      iconButton('again', t('regenerate'), () => this.actions.regenerate(node)),
      iconButton(
        'more',
        t('chat_menu'),
        (event) =>
          openMenu(event.currentTarget, [
            {label: t('copy_rich'), icon: 'copy', run: () => copyRich(node, this.body)},
            {label: t('continue'), icon: 'forward', run: () => this.actions.goOn(node)},
          ]),
        {'aria-haspopup': 'menu'},
      ),
      this.numbers(),
    ];
  }

  numbers() {
    const {numbers, finish} = this.node;
    if (!numbers) return null;
    const parts = [];
    if (numbers.prompt !== null)
      parts.push(t('numbers', {prompt: number(numbers.prompt), output: number(numbers.output)}));
    if (numbers.cached) parts.push(t('numbers_cached', {n: number(numbers.cached)}));
    if (numbers.firstMs !== null) parts.push(t('numbers_first', {time: duration(numbers.firstMs)}));
    if (numbers.rate) parts.push(t('numbers_rate', {n: number(numbers.rate, numbers.rate < 20 ? 1 : 0)}));
    if (['length', 'tool_calls'].includes(finish)) parts.push(t(FINISH[finish]));
    return h('span', {class: 'numbers', title: t('details')}, parts.join(' · '));
  }
}

// The text of the last listing on the page.
export function lastCode(conversation) {
  for (const node of path(conversation).reverse()) {
    const all = [...node.content.matchAll(/^(```|~~~)[^\n]*\n([\s\S]*?)^\1/gm)];
    if (all.length) return all.at(-1)[2];
  }
  return null;
}
