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

export function developerView(place, node) {
  const generation = lastOf.get(node.id);
  const body = generation?.request ?? requestFor(state.current, state.current.nodes[node.parent]);
  const shown = h('pre', {class: 'developer-text', tabindex: '0', hidden: true});
  const tabs = [
    [t('dev_curl'), async () => curlOf(body)],
    [t('dev_events'), async () => generation?.raw.map((data) => `data: ${data}`).join('\n\n') || t('dev_none')],
    [t('dev_prompt'), () => promptOf(body)],
  ];
  const buttons = tabs.map(([label, text]) =>
    h(
      'button',
      {
        type: 'button',
        class: 'chip',
        'aria-pressed': 'false',
        onclick: async (event) => {
          const isOpen = event.currentTarget.getAttribute('aria-pressed') === 'true';
          buttons.forEach((button) => button.setAttribute('aria-pressed', 'false'));
          event.currentTarget.setAttribute('aria-pressed', String(!isOpen));
          shown.hidden = isOpen;
          if (!isOpen) shown.textContent = await text();
        },
      },
      label,
    ),
  );
  replace(place, h('section', {class: 'developer', 'aria-label': t('developer')}, icon('code'), buttons), shown);
}
