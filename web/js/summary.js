// A conversation that no longer fits goes on in a new one: the model sums it up, the summary goes with the next message.
import {askJson} from './api.js';
import {modelId} from './app-state.js';
import {messagesFor} from './conversation.js';
import {t} from './i18n.js';

const MAX_TOKENS = 1024;

// The summary of all messages up to `last`. What is too long for one request is summed up without its oldest messages.
export async function summaryOf(conversation, last) {
  let messages = messagesFor(conversation, last, '');
  for (;;) {
    try {
      const answer = await askJson('POST', '/v1/chat/completions', {
        model: modelId(),
        messages: [...messages, {role: 'user', content: t('summarise_prompt')}],
        max_tokens: MAX_TOKENS,
        chat_template_kwargs: {enable_thinking: false},
      });
      return answer.choices[0].message.content.trim();
    } catch (error) {
      const from = messages.findIndex((message, index) => index >= messages.length / 2 && message.role === 'user');
      if (error.code !== 'context_length_exceeded' || from <= 0) throw error;
      messages = messages.slice(from);
    }
  }
}
