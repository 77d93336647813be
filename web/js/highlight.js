// Colours for code, computed in a worker under a time limit: a pattern that runs wild costs the colours, not the page.

const LIMIT_MS = 2000;
const MAX_LENGTH = 100000;
let worker = null;
let nextId = 0;
const waiting = new Map(); // id → {element, text, timer}

const policy = window.trustedTypes?.createPolicy('gale-worker', {
  createScriptURL: (url) => {
    if (new URL(url).origin !== location.origin || !new URL(url).pathname.endsWith('/js/highlight-worker.js'))
      throw new TypeError(url);
    return url;
  },
}) ?? {createScriptURL: (url) => url};

function restart() {
  worker?.terminate();
  worker = null;
  waiting.clear();
}

function theWorker() {
  if (worker) return worker;
  worker = new Worker(policy.createScriptURL(new URL('highlight-worker.js', import.meta.url).href), {type: 'module'});
  worker.onmessage = ({data: {id, tree}}) => {
    const job = waiting.get(id);
    waiting.delete(id);
    if (!job) return;
    clearTimeout(job.timer);
    if (tree && job.element.textContent === job.text) job.element.replaceChildren(...tree.map(toNode));
  };
  worker.onerror = restart;
  return worker;
}

// [scope, children] or text, as the worker says it.
function toNode(part) {
  if (typeof part === 'string') return document.createTextNode(part);
  const span = document.createElement('span');
  span.className = `hl-${part[0].split('.')[0].replace(/[^\w-]/g, '')}`;
  span.append(...part[1].map(toNode));
  return span;
}

export function highlight(element, language) {
  const text = element.textContent;
  if (!language || text.length > MAX_LENGTH) return;
  const id = nextId++;
  waiting.set(id, {element, text, timer: setTimeout(restart, LIMIT_MS)});
  theWorker().postMessage({id, text, language});
}
