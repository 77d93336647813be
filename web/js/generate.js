// One answer being written: asks, reads the stream, notes times and numbers. Knows nothing of how it is shown.
import {ApiError, askJson, endStream, resumeChat, streamChat} from './api.js';
import {effective, emit, keep, modelId, state} from './app-state.js';
import {addNode, messagesFor, newId, touch} from './conversation.js';

const PAINT_MS = 30;
const MAX_REVIVALS = 3; // of an answer whose server forgot it
const REVIVE_MS = [500, 1000, 1000, 2000, 2000, 4000, 4000, 8000, 8000, 15000, 15000];
const NUMBERS = [
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'presence_penalty',
  'frequency_penalty',
  'repetition_penalty',
  'max_tokens',
  'seed',
];

// The request for an answer that follows `parent`; `partial`: the answer to go on with.
export function requestFor(conversation, parent, partial = null) {
  const wanted = effective(conversation);
  const body = {
    model: modelId(),
    messages: messagesFor(conversation, parent, wanted.system),
    stream: true,
    stream_options: {include_usage: true, continuous_usage_stats: true}, // so that a stopped answer has its counts
  };
  for (const name of NUMBERS) if (wanted[name] !== undefined && wanted[name] !== '') body[name] = Number(wanted[name]);
  if (wanted.stop) body.stop = wanted.stop.split('\n').filter(Boolean).slice(0, 4);
  if (wanted.thinking) body.chat_template_kwargs = {enable_thinking: wanted.thinking === 'on'};
  if (wanted.effort && wanted.thinking !== 'off') body.reasoning_effort = wanted.effort;
  if (wanted.json) body.response_format = {type: 'json_object'};
  if (wanted.extra) Object.assign(body, JSON.parse(wanted.extra));
  if (partial) {
    body.messages.push({role: 'assistant', content: partial.content});
    Object.assign(body, {continue_final_message: true, add_generation_prompt: false});
    body.chat_template_kwargs = {...body.chat_template_kwargs, enable_thinking: false};
  }
  return body;
}

class Generation {
  constructor(conversation, node) {
    Object.assign(this, {
      conversation,
      node,
      abort: new AbortController(),
      raw: [],
      request: null,
      isBroken: false,
      numTokens: 0,
    });
    this.started = performance.now();
    this.firstAt = this.firstTextAt = this.lastAt = this.rateFrom = null;
    this.timer = 0;
  }

  stop() {
    if (this.node.stream?.id) endStream(this.node.stream);
    this.abort.abort(new DOMException('stopped', 'AbortError'));
  }

  // Tokens of this stream so far: several may come in one chunk.
  get count() {
    return this.usage?.completion_tokens ?? this.numTokens;
  }

  get tokensPerSecond() {
    if (!this.rateFrom) return 0;
    const seconds = (this.lastAt - this.rateFrom.at) / 1000;
    return seconds > 0.2 ? (this.count - this.rateFrom.count) / seconds : 0;
  }

  paintSoon() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      emit('token', this);
      keep(this.conversation);
    }, PAINT_MS);
  }

  take(chunk) {
    const {node} = this;
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const delta = choice.delta ?? {};
    const reasoning = delta.reasoning_content ?? delta.reasoning ?? '';
    if (reasoning || delta.content || delta.tool_calls) {
      this.lastAt = performance.now();
      this.firstAt ??= this.lastAt;
      this.numTokens++;
      this.rateFrom ??= {at: this.lastAt, count: this.count};
      this.isBroken = false;
    }
    if (reasoning) node.reasoning = (node.reasoning ?? '') + reasoning;
    if (delta.content) {
      if (this.firstTextAt === null) {
        this.firstTextAt = this.lastAt;
        if (node.reasoning && !node.thinkMs) node.thinkMs = this.lastAt - this.firstAt;
      }
      node.content += delta.content;
    }
    for (const piece of delta.tool_calls ?? []) {
      node.toolCalls ??= [];
      const call = (node.toolCalls[piece.index] ??= {id: '', name: '', arguments: ''});
      if (piece.id) call.id = piece.id;
      if (piece.function?.name) call.name = piece.function.name;
      call.arguments += piece.function?.arguments ?? '';
    }
    if (choice.finish_reason) node.finish = choice.finish_reason;
    node.changed = Date.now();
    this.paintSoon();
  }

  async run(chunks) {
    for (let revivals = 0; chunks; revivals++) chunks = await this.read(chunks, revivals < MAX_REVIVALS);
    this.end();
  }

  // Reads a stream to its end; the stream to go on with, or null.
  async read(chunks, mayRevive) {
    const {node} = this;
    try {
      for await (const chunk of chunks) this.take(chunk);
      if (!node.finish) throw new ApiError(0, '', {code: 'interrupted'});
    } catch (error) {
      const isLost = error.code === 'interrupted' && !this.abort.signal.aborted;
      if (isLost && mayRevive && this.firstAt !== null && !node.toolCalls && (await this.waitForServer()))
        return this.takeUpAnew();
      if (this.abort.signal.aborted) node.finish = 'stopped';
      else if (error.code === 'interrupted') node.finish = 'cut';
      else {
        node.finish = 'error';
        node.error = {message: error.message, code: error.code ?? '', status: error.status ?? 0};
      }
    }
    return null;
  }

  // A server that was started anew has forgotten the stream. The text is still here, so the answer is asked to go on from it.
  takeUpAnew() {
    const {node, conversation} = this;
    node.stream = {id: '', last: null};
    Object.assign(this, {usage: null, numTokens: 0, rateFrom: null});
    if (!node.content) node.reasoning = ''; // a thought that was cut short cannot be gone on with
    this.requestId = `page-${newId()}`;
    this.request = requestFor(conversation, conversation.nodes[node.parent], node.content ? node : null);
    return streamChat(this.request, this.options());
  }

  async waitForServer() {
    for (const ms of REVIVE_MS) {
      if (await fetch('/ready', {cache: 'no-store'}).then((response) => response.ok, () => false)) return true;
      this.isBroken = true;
      emit('token', this);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.abort.signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), {once: true});
      });
      if (this.abort.signal.aborted) return false;
    }
    return false;
  }

  end() {
    const {node, usage} = this;
    clearTimeout(this.timer);
    delete node.stream;
    if (node.reasoning && !node.thinkMs && this.firstAt !== null) node.thinkMs = this.lastAt - this.firstAt;
    if (usage || this.numTokens) {
      node.numbers = {
        prompt: usage?.prompt_tokens ?? null,
        output: this.count,
        cached: usage?.prompt_tokens_details?.cached_tokens ?? 0,
        reasoning: usage?.completion_tokens_details?.reasoning_tokens ?? 0,
        firstMs: this.firstAt === null ? null : this.firstAt - this.started,
        rate: this.tokensPerSecond,
        isExact: Boolean(usage),
      };
    }
    touch(this.conversation, node);
    state.running.delete(this.conversation.id);
    keep(this.conversation, {now: true});
    emit('answer-end', this);
    emit('change');
  }

  options() {
    return {
      signal: this.abort.signal,
      position: this.node.stream,
      requestId: this.requestId,
      onNamed: () => keep(this.conversation, {now: true}), // a reload in the next moment must find it
      onRaw: (data) => {
        if (this.raw.length < 20000) this.raw.push(data);
      },
      onBreak: () => {
        this.isBroken = true;
        emit('token', this);
      },
    };
  }
}

export const lastOf = new Map(); // node id → the Generation that made it, for the developer view

function begin(conversation, node) {
  const generation = new Generation(conversation, node);
  state.running.set(conversation.id, generation);
  lastOf.set(node.id, generation);
  return generation;
}

// An answer after `parent` (a user's or a tool's message), as a new branch.
export function answer(conversation, parent) {
  const node = addNode(conversation, parent.id, {
    role: 'assistant',
    model: modelId(),
    finish: null,
    stream: {id: '', last: null},
  });
  send(conversation, node, parent, null);
}

// Goes on with an answer that was cut short.
export function goOn(conversation, node) {
  Object.assign(node, {finish: null, error: undefined, stream: {id: '', last: null}});
  if (!node.content) node.reasoning = '';   // a thought that was cut short cannot be gone on with
  send(conversation, node, conversation.nodes[node.parent], node.content ? node : null);
}

function send(conversation, node, parent, partial) {
  const generation = begin(conversation, node);
  generation.requestId = `page-${newId()}`;
  generation.request = requestFor(conversation, parent, partial);
  emit('answer-begin', generation);
  emit('change');
  keep(conversation, {now: true});
  generation.run(streamChat(generation.request, generation.options()));
}

// After a reload: answers that were being written go on if the server still has them.
export function resumeAll(conversations) {
  for (const conversation of conversations) {
    for (const node of Object.values(conversation.nodes)) {
      if (!node.stream) continue;
      if (!node.stream.id) {
        node.finish = 'cut';
        delete node.stream;
        keep(conversation);
        continue;
      }
      const generation = begin(conversation, node);
      generation.run(resumeChat(generation.options()));
    }
  }
}

// How many tokens a text has, by the server's own tokenizer; null where that cannot be told.
export async function countTokens(text) {
  try {
    return (await askJson('POST', '/tokenize', {prompt: text, add_special_tokens: false})).count ?? null;
  } catch {
    return null;
  }
}
