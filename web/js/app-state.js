// What the parts of the page share. `on('change', f)` hears of it; parts never call each other's drawing.
import * as store from './store.js';

const bus = new EventTarget();
export const on = (name, listen) => bus.addEventListener(name, (event) => listen(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, {detail}));

export const state = {
  conversations: [], // all, as kept
  current: null, // the one shown
  models: [], // {id, max_model_len}
  limits: {upload_bytes: 0},
  defaults: {}, // what the server takes where a field is blank, by the field's name
  running: new Map(), // conversation id → Generation
  status: {kind: 'checking'},
};

export const settings = store.settings;
export const modelId = () => state.models[0]?.id ?? '';
export const contextLength = () => state.models[0]?.max_model_len ?? 0;

// What counts for a chat: its own settings before those for all chats; blank is the server's business.
export function effective(conversation) {
  const own = Object.entries(conversation?.settings ?? {}).filter(([, value]) => value !== '' && value !== null);
  return {...settings.model, ...Object.fromEntries(own)};
}

const timers = new Map();

// Keeps a chat: soon, so that a stream does not write at every token; at once with `now`.
export function keep(conversation, {now = false} = {}) {
  if (timers.has(conversation.id) && !now) return Promise.resolve();   // a write is due already, and takes what is there then
  clearTimeout(timers.get(conversation.id));
  const write = async () => {
    timers.delete(conversation.id);
    if (!Object.keys(conversation.nodes).length && !conversation.title) return;
    try {
      const merged = await store.save(conversation);
      for (const [id, node] of Object.entries(merged.nodes)) conversation.nodes[id] ??= node;
    } catch (error) {
      emit('quota', error);
    }
  };
  if (now) return write();
  timers.set(conversation.id, setTimeout(write, 400));
  return Promise.resolve();
}

export function listed(conversation) {
  if (!state.conversations.some((one) => one.id === conversation.id)) state.conversations.push(conversation);
}
