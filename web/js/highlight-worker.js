import hljs from '../vendor/highlight.js';

// Emits lists instead of HTML: [scope, children], text.
class ListEmitter {
  constructor() {
    this.root = [];
    this.stack = [this.root];
  }
  addText(text) {
    if (text) this.stack.at(-1).push(text);
  }
  startScope(scope) {
    const children = [];
    this.stack.at(-1).push([scope, children]);
    this.stack.push(children);
  }
  endScope() {
    if (this.stack.length > 1) this.stack.pop();
  }
  openNode(scope) {
    this.startScope(scope);
  }
  closeNode() {
    this.endScope();
  }
  __addSublanguage(emitter, name) {
    this.stack.at(-1).push(...(name ? [[`language:${name}`, emitter.root]] : emitter.root));
  }
  finalize() {
    this.stack = [this.root];
  }
  toHTML() {
    return '';
  }
}
hljs.configure({__emitter: ListEmitter});

self.onmessage = ({data: {id, text, language}}) => {
  const tree = hljs.getLanguage(language) ? hljs.highlight(text, {language, ignoreIllegals: true})._emitter.root : null;
  self.postMessage({id, tree});
};
