// Markdown to elements. The text of a model is hostile: marked only takes it apart; every element is made here, its text is
// text, links may have three schemes, pictures of others are named and not loaded. No HTML is ever parsed. DOMPurify looks over
// each block before it is shown; formulas and colours come last, from libraries that build elements.
import {Lexer} from '../vendor/marked.js';
import '../vendor/purify.js';
import {h, icon, iconButton} from './dom.js';
import {t} from './i18n.js';
import {highlight} from './highlight.js';
import {typeset} from './math.js';

const MAX_DEPTH = 24;
const LINK = /^(https?:|mailto:)/i;
const DATA_IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
const INLINE_HTML = new Set([
  'b',
  'i',
  'u',
  's',
  'em',
  'strong',
  'sub',
  'sup',
  'kbd',
  'mark',
  'small',
  'ins',
  'del',
  'code',
  'var',
  'q',
]);
const PURIFY = {
  ALLOWED_TAGS: [
    'p',
    'br',
    'hr',
    'h1',
    'h2',
    'h3',
    'h4',
    'h5',
    'h6',
    'ul',
    'ol',
    'li',
    'table',
    'thead',
    'tbody',
    'tfoot',
    'tr',
    'th',
    'td',
    'caption',
    'blockquote',
    'pre',
    'code',
    'span',
    'div',
    'a',
    'img',
    'details',
    'summary',
    'dl',
    'dt',
    'dd',
    'figure',
    'figcaption',
    'abbr',
    'input',
    ...INLINE_HTML,
  ],
  ALLOWED_ATTR: [
    'href',
    'title',
    'target',
    'rel',
    'src',
    'alt',
    'start',
    'colspan',
    'rowspan',
    'open',
    'class',
    'dir',
    'lang',
    'data-tex',
    'data-display',
    'data-code',
    'data-language',
    'data-align',
    'type',
    'checked',
    'disabled',
    'tabindex',
    'role',
  ],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ADD_URI_SAFE_ATTR: [
    'data-tex',
    'data-display',
    'data-code',
    'data-language',
    'data-align',
    'target',
    'rel',
    'start',
    'colspan',
    'rowspan',
    'open',
    'dir',
    'lang',
    'type',
    'checked',
    'disabled',
    'tabindex',
    'role',
  ], // those that are no addresses
};
// What raw HTML in an answer may hold; of attributes only those below.
const RAW_TAGS = new Set([...PURIFY.ALLOWED_TAGS.filter((tag) => !['img', 'input'].includes(tag))]);
const RAW_ATTRIBUTES = {
  title: /^/,
  start: /^\d+$/,
  colspan: /^\d{1,2}$/,
  rowspan: /^\d{1,2}$/,
  open: /^/,
  dir: /^(ltr|rtl|auto)$/,
  lang: /^[\w-]+$/,
  href: LINK,
};
const RAW_TAG =
  /<!--[\s\S]*?-->|<(\/?)([a-z][a-z0-9]*)((?:\s+[\w:-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+))?)*)\s*\/?>/gi;

const FORMULA_BLOCK = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
const FORMULA_OPEN = /^(?:\$\$|\\\[)(?![\s\S]*?(?:\$\$|\\\])[\s\S]*?)([\s\S]+)$/;
const FORMULA_INLINE =
  /^(?:\$\$([^\n]+?)\$\$|\$(?![\s$])((?:\\.|[^\\$\n])+?)(?<![\s\\])\$(?!\d)|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\])/;

const formulas = [
  {
    name: 'formula',
    level: 'block',
    start: (text) => text.match(/(?:^|\n)(?:\$\$|\\\[)/)?.index,
    tokenizer(text) {
      const found = FORMULA_BLOCK.exec(text);
      if (found) return {type: 'formula', raw: found[0], tex: found[1] ?? found[2], isDisplay: true};
      const open = FORMULA_OPEN.exec(text); // still being written: shown as it is until it closes
      return open && !/\n\s*\n/.test(open[1])
        ? {type: 'formula', raw: open[0], tex: open[1], isDisplay: true, isOpen: true}
        : undefined;
    },
  },
  {
    name: 'inlineFormula',
    level: 'inline',
    start: (text) => text.match(/\$|\\[([]/)?.index,
    tokenizer(text) {
      const found = FORMULA_INLINE.exec(text);
      if (found)
        return {
          type: 'inlineFormula',
          raw: found[0],
          tex: found[1] ?? found[2] ?? found[3] ?? found[4],
          isDisplay: Boolean(found[1] ?? found[4]),
        };
    },
  },
];
const extensions = {
  block: [formulas[0].tokenizer],
  inline: [formulas[1].tokenizer],
  startBlock: [formulas[0].start],
  startInline: [formulas[1].start],
  renderers: {},
  childTokens: {},
};
const lex = (text) => new Lexer({gfm: true, breaks: false, extensions}).lex(text);

// Raw HTML to elements, without an HTML parser: known tags become elements, all else stays text that can be read.
function rawHtml(text) {
  const root = h('div');
  const stack = [root];
  let at = 0;
  for (const found of text.matchAll(RAW_TAG)) {
    stack.at(-1).append(unescape(text.slice(at, found.index)));
    at = found.index + found[0].length;
    const [whole, closing, tag, attributes] = found;
    const name = tag?.toLowerCase();
    if (!name) continue; // a comment
    if (!RAW_TAGS.has(name) || stack.length > MAX_DEPTH) stack.at(-1).append(whole);
    else if (closing) {
      const opened = stack.findLastIndex((element) => element.localName === name);
      if (opened > 0) stack.length = opened;
    } else {
      const made = h(name);
      for (const [, key, quoted] of attributes.matchAll(/([\w:-]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>=`]+))?/g)) {
        const value = unescape((quoted ?? '').replace(/^["']|["']$/g, ''));
        if (Object.hasOwn(RAW_ATTRIBUTES, key.toLowerCase()) && RAW_ATTRIBUTES[key.toLowerCase()].test(value))
          made.setAttribute(key, value);
      }
      stack.at(-1).append(made);
      if (name !== 'br' && name !== 'hr') stack.push(made);
    }
  }
  stack.at(-1).append(unescape(text.slice(at)));
  return [...root.childNodes];
}

const plain = (token) => document.createTextNode(token.raw ?? token.text ?? '');

function link(token, depth) {
  const href = token.href?.trim() ?? '';
  if (!LINK.test(href)) return h('span', {}, inline(token.tokens, depth));
  return h(
    'a',
    {href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow'},
    inline(token.tokens, depth),
  );
}

function image(token) {
  const href = token.href?.trim() ?? '';
  if (DATA_IMAGE.test(href)) return h('img', {src: href, alt: token.text});
  if (!/^https?:/i.test(href) || !URL.canParse(href)) return document.createTextNode(token.text);
  return h(
    'a',
    {class: 'remote-image', href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow'},
    `${token.text || ''} (${t('remote_image', {host: new URL(href).host})})`,
  );
}

function formula(token) {
  return h(
    token.isDisplay ? 'div' : 'span',
    {
      class: token.isDisplay ? 'formula display' : 'formula',
      'data-tex': token.isOpen ? null : token.tex,
      'data-display': token.isDisplay ? '1' : null,
    },
    token.tex,
  );
}

function inlineToken(token, depth) {
  switch (token.type) {
    case 'text':
      return token.tokens ? inline(token.tokens, depth) : document.createTextNode(unescape(token.text));
    case 'escape':
      return document.createTextNode(unescape(token.text));
    case 'strong':
      return h('strong', {}, inline(token.tokens, depth));
    case 'em':
      return h('em', {}, inline(token.tokens, depth));
    case 'del':
      return h('del', {}, inline(token.tokens, depth));
    case 'codespan':
      return h('code', {}, token.text);
    case 'br':
      return h('br');
    case 'link':
      return link(token, depth);
    case 'image':
      return image(token);
    case 'inlineFormula':
      return formula(token);
    case 'checkbox':
      return null;
    default:
      return plain(token);
  }
}

const ENTITIES = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
  copy: '©',
  hellip: '…',
  mdash: '—',
  ndash: '–',
  times: '×',
  middot: '·',
  larr: '←',
  rarr: '→',
};
function unescape(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{2,8}));/gi, (whole, decimal, hexadecimal, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hexadecimal, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  });
}

// Inline tokens to nodes. Simple tags that stand alone in the text (<sub>, <kbd>) take what stands between them.
function inline(tokens = [], depth = 0) {
  if (depth > MAX_DEPTH) return tokens.map(plain);
  const stack = [{tag: null, nodes: []}];
  for (const token of tokens) {
    const top = stack.at(-1);
    if (token.type === 'html') {
      const tag = /^<(\/?)([a-z]+)\s*\/?>$/i.exec(token.raw.trim());
      const name = tag?.[2].toLowerCase();
      if (name === 'br') top.nodes.push(h('br'));
      else if (name && INLINE_HTML.has(name) && !tag[1] && stack.length < MAX_DEPTH) stack.push({tag: name, nodes: []});
      else if (name && tag[1] && top.tag === name) stack.at(-2).nodes.push(h(stack.pop().tag, {}, top.nodes));
      else top.nodes.push(plain(token));
      continue;
    }
    top.nodes.push(inlineToken(token, depth + 1));
  }
  while (stack.length > 1) {
    const open = stack.pop();
    stack.at(-1).nodes.push(h(open.tag, {}, open.nodes));
  }
  return stack[0].nodes;
}

function list(token, depth) {
  const items = token.items.map((item) =>
    h(
      'li',
      {class: item.task ? 'task' : null},
      item.task && h('input', {type: 'checkbox', checked: item.checked, disabled: true}),
      blocks(item.tokens, depth + 1, !item.loose),
    ),
  );
  return token.ordered ? h('ol', {start: token.start === 1 ? null : token.start}, items) : h('ul', {}, items);
}

function table(token, depth) {
  const cell = (tag) => (one, column) => h(tag, {'data-align': token.align[column]}, inline(one.tokens, depth));
  return h(
    'div',
    {class: 'table', tabindex: '0', role: 'region'},
    h(
      'table',
      {},
      h('thead', {}, h('tr', {}, token.header.map(cell('th')))),
      h(
        'tbody',
        {},
        token.rows.map((row) => h('tr', {}, row.map(cell('td')))),
      ),
    ),
  );
}

function code(token) {
  return h(
    'pre',
    {'data-code': '1', 'data-language': (token.lang ?? '').trim().split(/\s/)[0].slice(0, 40)},
    h('code', {}, token.text),
  );
}

function blockToken(token, depth, isTight) {
  switch (token.type) {
    case 'space':
    case 'def':
      return null;
    case 'paragraph':
      return h('p', {}, inline(token.tokens, depth));
    case 'text':
      return isTight ? inline(token.tokens ?? [token], depth) : h('p', {}, inline(token.tokens ?? [token], depth));
    case 'heading':
      return h(`h${Math.min(token.depth + 1, 6)}`, {class: `size-${token.depth}`}, inline(token.tokens, depth));
    case 'code':
      return code(token);
    case 'list':
      return list(token, depth);
    case 'table':
      return table(token, depth);
    case 'blockquote':
      return h('blockquote', {}, blocks(token.tokens, depth + 1));
    case 'hr':
      return h('hr');
    case 'formula':
      return formula(token);
    case 'html':
      return rawHtml(token.raw);
    default:
      return inlineToken(token, depth);
  }
}

function blocks(tokens, depth = 0, isTight = false) {
  if (depth > MAX_DEPTH) return tokens.map(plain);
  return tokens.map((token) => blockToken(token, depth, isTight));
}

// ---- after the sanitiser: what only our own code may add ---------------------------------------------------------------

function dressCode(pre) {
  const language = pre.dataset.language;
  const text = () => pre.querySelector('code').textContent;
  const copy = iconButton('copy', t('copy_code'), async () => {
    await navigator.clipboard.writeText(text());
    copy.replaceChildren(icon('check'));
    setTimeout(() => copy.replaceChildren(icon('copy')), 1500);
  });
  copy.classList.add('copy-code');
  const frame = h(
    'div',
    {class: 'code'},
    h('div', {class: 'code-bar'}, h('span', {}, language || t('code_text')), copy),
  );
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  frame.append(pre);
}

function dress(element) {
  for (const pre of element.querySelectorAll('pre[data-code]')) dressCode(pre);
  for (const formula of element.querySelectorAll('[data-tex]'))
    typeset(formula, formula.dataset.tex, Boolean(formula.dataset.display));
  for (const anchor of element.querySelectorAll('a[href]')) {
    Object.assign(anchor, {target: '_blank', rel: 'noopener noreferrer nofollow', title: anchor.href});
  }
}

function build(token) {
  const made = h('div', {class: 'block'}, blockToken(token, 0, false));
  window.DOMPurify.sanitize(made, {...PURIFY, IN_PLACE: true});
  dress(made);
  return made;
}

function safeLex(text) {
  try {
    return lex(text);
  } catch {
    // nested deeper than the stack: shown as it came
    return [{type: 'paragraph', raw: text, tokens: [{type: 'text', raw: text, text}]}];
  }
}

// An emphasis or code span that is still open gets its end for now, so that its marks do not flash.
function heal(text) {
  const line = text.slice(text.lastIndexOf('\n\n') + 2);
  if (/^\s*(```|~~~|\$\$|\\\[)/m.test(line)) return text;
  if ((line.match(/`/g) ?? []).length % 2) return text + '`';
  if ((line.match(/\*\*/g) ?? []).length % 2) return /\*\*\s*$/.test(line) ? text.replace(/\*\*\s*$/, '') : text + '**';
  return text;
}

// Shows a growing Markdown text in `element`. Blocks that are followed by another block are done and never looked at again;
// only the last one is parsed anew when text comes.
export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.text = '';
    this.stable = 0; // characters whose blocks are done
    this.open = []; // elements of blocks that may still change
  }

  // `text` begins with what was shown before, else everything is drawn anew.
  show(text, {isFinal = false} = {}) {
    if (!text.startsWith(this.text.slice(0, this.stable))) {
      this.stable = 0;
      this.open = [];
      this.element.replaceChildren();
    }
    this.text = text;
    const tail = text.slice(this.stable);
    const tokens = safeLex(isFinal ? tail : heal(tail));
    if (this.growCode(tokens, isFinal)) return;
    this.open.forEach((element) => element.remove());
    this.open = [];
    const last = tokens.findLastIndex((token) => token.type !== 'space');
    tokens.forEach((token, index) => {
      const isDone = isFinal || index < last;
      if (isDone) this.stable += token.raw.length;
      if (token.type === 'space' || token.type === 'def') return;
      const made = build(token);
      this.element.append(made);
      if (isDone)
        made
          .querySelectorAll('pre[data-code]')
          .forEach((pre) => highlight(pre.querySelector('code'), pre.dataset.language));
      else this.open.push(made);
    });
  }

  // A long listing that goes on gets only its new characters.
  growCode(tokens, isFinal) {
    if (isFinal || this.open.length !== 1 || tokens.length !== 1 || tokens[0].type !== 'code') return false;
    const node = this.open[0].querySelector('pre[data-code] > code')?.firstChild;
    const text = tokens[0].text;
    if (!node || node.nodeType !== Node.TEXT_NODE || !text.startsWith(node.data)) return false;
    if (text.length > node.data.length) node.appendData(text.slice(node.data.length));
    return true;
  }
}

// A whole text at once, for exports.
export function toElement(text) {
  const element = h('div', {class: 'markdown'});
  new MarkdownView(element).show(text, {isFinal: true});
  return element;
}
