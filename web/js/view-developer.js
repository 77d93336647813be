// For developers, under an answer: the request as curl, the raw events, the prompt as the model saw it.
import {h, icon, replace} from './dom.js';
import {t} from './i18n.js';
import {askJson} from './api.js';
import {lastOf, requestFor} from './generate.js';
import {state} from './app-state.js';

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curlOf(body) {
  return `curl -N ${location.origin}/v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify(body, null, 2))}`;
}

async function promptOf(body) {
  try {
    const {stream, stream_options: _, ...rest} = body;
    const answer = await askJson('POST', '/v1/chat/completions/render', rest);
    return answer.prompt ?? JSON.stringify(answer, null, 2);
  } catch (error) {
    return t('dev_no_prompt', {why: error.message});
  }
}

// Which tab of which answer is open: an answer is drawn again when it ends, and the view stays as it was.
let opened = {id: null, tab: -1};

export function developerView(place, node) {
  const generation = lastOf.get(node.id);
  const body = generation?.request ?? requestFor(state.current, state.current.nodes[node.parent]);
  const shown = h('pre', {class: 'developer-text', tabindex: '0', hidden: true});
  const tabs = [
    [t('dev_curl'), async () => curlOf(body)],
    [t('dev_events'), async () => generation?.raw.map((data) => `data: ${data}`).join('\n\n') || t('dev_none')],
    [t('dev_prompt'), () => promptOf(body)],
  ];
  const show = async (tab) => {
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === tab)));
    shown.hidden = tab < 0;
    if (tab >= 0) shown.textContent = await tabs[tab][1]();
  };
  const buttons = tabs.map(([label], i) =>
    h(
      'button',
      {
        type: 'button',
        class: 'chip',
        'aria-pressed': 'false',
        onclick: () => {
          const isOpen = opened.id === node.id && opened.tab === i;
          opened = {id: node.id, tab: isOpen ? -1 : i};
          return show(opened.tab);
        },
      },
      label,
    ),
  );
  replace(place, h('section', {class: 'developer', 'aria-label': t('developer')}, icon('code'), buttons), shown);
  if (opened.id === node.id) show(opened.tab);
}
