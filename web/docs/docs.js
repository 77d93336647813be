// Swagger UI over /openapi.json. It shows an answer when it is whole; what streams is shown below, event by event, as well.
"use strict";

const panel = document.getElementById("stream");
const title = document.getElementById("stream-title");
const text = document.getElementById("stream-text");
const stop = document.getElementById("stream-stop");
let running = null;

stop.addEventListener("click", () => running?.abort());
document.getElementById("stream-close").addEventListener("click", () => { panel.hidden = true; });

async function show(response, name, controller) {
  running = controller;
  title.textContent = name;
  text.textContent = "";
  panel.hidden = false;
  stop.disabled = false;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text.append(part.value);
      text.scrollTop = text.scrollHeight;
    }
    title.textContent = `${name}: complete`;
  } catch (error) {
    title.textContent = `${name}: ${error.name === "AbortError" ? "stopped" : error.message}`;
  } finally {
    if (running === controller) stop.disabled = true;
  }
}

async function streamingFetch(url, options) {
  const controller = new AbortController();
  const response = await fetch(url, { ...options, signal: controller.signal });
  const isStream = (response.headers.get("content-type") ?? "").startsWith("text/event-stream");
  if (isStream) show(response.clone(), `${options.method} ${new URL(url, location).pathname}`, controller);
  return response;
}

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  validatorUrl: null,
  persistAuthorization: false,
  tryItOutEnabled: true,
  requestInterceptor: (request) => {
    if (!request.loadSpec) request.userFetch = streamingFetch;
    return request;
  },
  onComplete: () => { document.documentElement.dataset.ready = "yes"; },
});
