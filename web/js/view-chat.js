// The column of messages: which are shown, where the reader is, what is told to people who do not see it.
import {h, replace, toast} from './dom.js';
import {number, t} from './i18n.js';
import {contextLength, emit, keep, modelId, on, state} from './app-state.js';
import {asText} from './attachments.js';
import {addNode, path, showSibling, titleOf, touch} from './conversation.js';
import {answer, goOn} from './generate.js';
import {summaryOf} from './summary.js';
import {MessageView} from './view-message.js';

const NEAR_END = 60; // pixels: closer than that the reader is at the end

export class ChatView {
  constructor({scroller, column, jump, live, bar}) {
    Object.assign(this, {scroller, column, jump, live, bar, views: new Map(), follows: true});
    scroller.addEventListener('scroll', () => this.noteScroll(), {passive: true});
    for (const kind of ['wheel', 'touchmove'])
      scroller.addEventListener(
        kind,
        (event) => {
          if (!(event.deltaY > 0)) this.follows = false;
        },
        {passive: true},
      );
    jump.addEventListener('click', () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(column);
    on('token', (generation) => generation.conversation === state.current && this.paint(generation));
    on('answer-begin', (generation) => {
      if (generation.conversation === state.current) this.follows = true;
      this.say('answer_begins');
    });
    on('answer-end', (generation) => {
      if (generation.conversation !== state.current) return;
      this.views.get(generation.node.id)?.update();
      this.say(generation.node.finish === 'stopped' ? 'answer_stopped' : 'answer_ended');
    });
  }

  say(key) {
    this.live.textContent = t(key);
  }

  // ---- drawing --------------------------------------------------------------------------------------------------------

  show() {
    const nodes = state.current ? path(state.current) : [];
    this.drawn = nodes.map((node) => node.id).join();
    const views = nodes.map((node) => {
      const view = this.views.get(node.id);
      if (!view || view.node !== node) return new MessageView(node, this.actions);
      view.update();
      return view;
    });
    this.views = new Map(views.map((view) => [view.node.id, view]));
    const wanted = views.map((view) => view.element);
    if (!nodes.length) wanted.push(this.welcome());
    const first = state.current?.firstSent;
    wanted.splice(
      first
        ? Math.max(
            nodes.findIndex((node) => node.id === first),
            0,
          )
        : 0,
      0,
      ...(first ? [h('p', {class: 'dropped'}, t('oldest_dropped'))] : []),
    );
    const has = [...this.column.children];
    if (has.length !== wanted.length || has.some((element, index) => element !== wanted[index]))
      this.column.replaceChildren(...wanted);
    this.updateBar();
    this.follow();
  }

  paint(generation) {
    const view = this.views.get(generation.node.id);
    if (!view) return;
    view.paint();
    this.follow();
  }

  welcome() {
    const model = modelId();
    return h(
      'section',
      {class: 'welcome'},
      h('h1', {}, t('hello')),
      h('p', {}, model ? t('hello_model', {model}) : ''),
      h(
        'div',
        {class: 'ideas'},
        ['idea_1', 'idea_2', 'idea_3', 'idea_4'].map((key) =>
          h('button', {type: 'button', class: 'idea', onclick: () => emit('draft', t(key))}, t(key)),
        ),
      ),
    );
  }

  // How full the context is, by what the last answer counted.
  updateBar() {
    const max = contextLength();
    const last = state.current && path(state.current).findLast((node) => node.numbers?.prompt);
    const used = last ? last.numbers.prompt + last.numbers.output : 0;
    this.bar.hidden = !max || !used;
    if (this.bar.hidden) return;
    const share = Math.min(used / max, 1);
    const level = share >= 0.9 ? 'full' : share >= 0.7 ? 'high' : 'low';
    this.bar.className = `context ${level}`;
    const words = t('context_used', {used: number(used), max: number(max)});
    const fill = h('span', {class: 'context-fill'});
    fill.style.width = `${share * 100}%`;
    replace(
      this.bar,
      h(
        'span',
        {
          class: 'context-track',
          role: 'meter',
          'aria-label': words,
          'aria-valuenow': used,
          'aria-valuemin': 0,
          'aria-valuemax': max,
        },
        fill,
      ),
      h(
        'span',
        {class: 'context-words'},
        level === 'low' ? words : `${t(share >= 0.98 ? 'context_full' : 'context_near')} ${words}`,
      ),
      level === 'full' && [
        h('button', {type: 'button', class: 'link-button', onclick: () => this.dropOldest()}, t('drop_oldest')),
        h('button', {type: 'button', class: 'link-button', onclick: (event) => this.summarise(event)}, t('summarise')),
      ],
    );
  }

  // Half of what is sent now is left out from now on; it stays to be read.
  dropOldest() {
    const nodes = path(state.current);
    const from = Math.max(
      nodes.findIndex((node) => node.id === state.current.firstSent),
      0,
    );
    const half =
      nodes.slice(from + Math.ceil((nodes.length - from) / 2)).find((node) => node.role === 'user') ??
      nodes.findLast((node) => node.role === 'user');
    state.current.firstSent = half.id;
    touch(state.current, null);
    keep(state.current);
    this.show();
  }

  // A new chat that has a summary of this one in its box.
  async summarise(event) {
    const button = event.currentTarget;
    const conversation = state.current;
    Object.assign(button, {disabled: true, textContent: t('summarising')});
    try {
      const text = await summaryOf(conversation, path(conversation).at(-1));
      emit('new-chat-with', [asText(new File([text], t('summary_file', {title: titleOf(conversation)})))]);
    } catch (error) {
      toast(t('summary_failed', {why: error.message}));
      this.updateBar();
    }
  }

  // ---- where the reader is --------------------------------------------------------------------------------------------

  get isAtEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
  }

  noteScroll() {
    if (this.isAtEnd) this.follows = true;
    else if (this.scroller.scrollTop < (this.lastTop ?? 0)) this.follows = false;
    this.lastTop = this.scroller.scrollTop;
    this.jump.hidden = this.isAtEnd || this.follows;
  }

  follow() {
    const selection = getSelection();
    const isSelecting = selection && !selection.isCollapsed && this.column.contains(selection.anchorNode);
    if (this.follows && !isSelecting) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.jump.hidden = this.isAtEnd || this.follows;
  }

  toEnd() {
    this.follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.jump.hidden = true;
  }

  // ---- what can be done with a message --------------------------------------------------------------------------------

  get isBusy() {
    return state.running.has(state.current?.id);
  }

  actions = {
    edit: (node, text) => {
      if (this.isBusy || !text.trim()) return;
      const copy = addNode(state.current, node.parent, {role: 'user', content: text, attachments: node.attachments});
      answer(state.current, copy);
      this.show();
    },
    regenerate: (node) => {
      if (this.isBusy) return;
      answer(state.current, state.current.nodes[node.parent]);
      this.show();
    },
    goOn: (node) => {
      if (this.isBusy) return;
      goOn(state.current, node);
      this.show();
    },
    branch: (node, step) => {
      if (this.isBusy) return;
      const other = showSibling(state.current, node, step);
      if (!other) return;
      this.follows = false;
      keep(state.current);
      this.show();
      this.views.get(other.id)?.element.focus({preventScroll: true});
    },
    toolResults: (node, texts) => {
      if (this.isBusy) return;
      let parent = node;
      const tookMs = Date.now() - node.changed;
      texts.forEach((content, index) => {
        const {id} = node.toolCalls[index];
        parent = addNode(state.current, parent.id, {role: 'tool', content, toolCallId: id, tookMs});
      });
      answer(state.current, parent);
      this.show();
    },
  };

  editLast() {
    const last = path(state.current).findLast((node) => node.role === 'user');
    if (last) this.views.get(last.id)?.edit();
  }

  focusedNode() {
    const id = document.activeElement?.closest('.message')?.dataset.id;
    return id ? state.current.nodes[id] : null;
  }
}
