// Talking to the API through the page's own server: plain requests, and one streamed chat that survives a broken connection.

export class ApiError extends Error {
  constructor(status, message, {code = '', retryAfter = 0} = {}) {
    super(message);
    Object.assign(this, {status, code, retryAfter});
  }
}

const HEADERS = {'Content-Type': 'application/json'};

async function errorOf(response) {
  const retryAfter = Number(response.headers.get('Retry-After')) || 0;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    /* not ours: the status says what there is to say */
  }
  return new ApiError(response.status, error.message ?? `${response.status} ${response.statusText}`, {
    code: error.code,
    retryAfter,
  });
}

export async function ask(method, target, body) {
  let response;
  try {
    response = await fetch(target, {
      method,
      headers: body === undefined ? {} : HEADERS,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
    });
  } catch (error) {
    throw new ApiError(0, error.message, {code: 'page_gone'});
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export const askJson = async (method, target, body) => (await ask(method, target, body)).json();

// Server-sent events of a body, one {id, data} after the other.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      pending += value;
      const blocks = pending.split('\n\n');
      pending = blocks.pop();
      for (const block of blocks) {
        const event = {id: null, data: null};
        for (const line of block.split('\n')) {
          if (line.startsWith('data:'))
            event.data = (event.data === null ? '' : event.data + '\n') + line.slice(5).trimStart();
          else if (line.startsWith('id:')) event.id = line.slice(3).trim();
        }
        if (event.data !== null) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      {once: true},
    );
  });

// Reads the events of a stream that began with `response`, and goes on where it broke as long as the server keeps it.
// `position`: {id, last}, updated as events come; `last` is null before the first. Yields the data of each event; ends
// after [DONE].
async function* resumable(response, position, signal, onBreak) {
  const RETRY_MS = [250, 500, 1000, 2000, 4000, 4000, 8000, 8000];
  let attempt = 0;
  for (;;) {
    try {
      for await (const event of events(response.body)) {
        attempt = 0;
        if (event.id !== null) notePosition(position, event.id);
        if (event.data === '[DONE]') return;
        yield event.data;
      }
    } catch (error) {
      if (signal.aborted) throw error;
    }
    response = null;
    while (!response) {
      signal.throwIfAborted();
      if (!position.id || attempt >= RETRY_MS.length)
        throw new ApiError(0, '', {code: 'interrupted'});
      onBreak();
      await pause(RETRY_MS[attempt++], signal);
      response = await resume(position, signal);
    }
  }
}

// Events of a stream that can be resumed are called STREAM:NUMBER.
function notePosition(position, eventId) {
  const colon = eventId.lastIndexOf(':');
  position.id = eventId.slice(0, colon);
  position.last = eventId.slice(colon + 1);
}

// Ends a stream for good: one that can be resumed goes on without its reader.
export function endStream(position) {
  return fetch(`/v1/streams/${encodeURIComponent(position.id)}`, {method: 'DELETE', cache: 'no-store'}).catch(() => {});
}

// The rest of a stream, or null where the server cannot be reached right now. Throws if it no longer has it.
async function resume(position, signal) {
  const from = position.last === null ? 0 : Number(position.last) + 1;
  let response;
  try {
    response = await fetch(`/v1/streams/${encodeURIComponent(position.id)}?from=${from}`, {
      signal,
      cache: 'no-store',
    });
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
  if (response.ok) return response;
  if (response.status >= 500 || response.status === 429) return null;
  throw new ApiError(response.status, '', {code: 'interrupted'});
}

// Posts a streamed chat. Yields parsed chunks. `position` may be kept by the caller to take the stream up after a reload;
// `onNamed` is called as soon as it says which stream that is.
export async function* streamChat(body, {signal, position, onNamed, onBreak, onRaw, requestId}) {
  let response;
  try {
    response = await fetch('/v1/chat/completions', {
      method: 'POST',
      headers: {...HEADERS, 'X-Request-Id': requestId, 'X-Stream-Resumable': 'true'},
      body: JSON.stringify(body),
      signal,
      cache: 'no-store',
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, error.message, {code: 'page_gone'});
  }
  if (!response.ok) throw await errorOf(response);
  position.id = response.headers.get('X-Stream-Id') ?? '';
  onNamed();
  yield* chunks(resumable(response, position, signal, onBreak), onRaw);
}

// Takes a stream up that a former life of the page began. Throws an `interrupted` ApiError if the server no longer has it.
export async function* resumeChat({signal, position, onBreak, onRaw}) {
  const response = await resume(position, signal);
  if (!response) throw new ApiError(0, '', {code: 'interrupted'});
  yield* chunks(resumable(response, position, signal, onBreak), onRaw);
}

async function* chunks(datas, onRaw) {
  for await (const data of datas) {
    onRaw(data);
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.status ?? 500, chunk.error.message, {code: chunk.error.code});
    yield chunk;
  }
}

// Names and values of the metrics that the page shows.
export function readMetrics(text) {
  const out = {};
  for (const [, name, value] of text.matchAll(
    /^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc)(?:\{[^}]*\})? ([\d.e+-]+)/gm,
  )) {
    out[name] = (out[name] ?? 0) + Number(value);
  }
  return out;
}
