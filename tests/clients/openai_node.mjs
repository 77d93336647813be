// What openai-node makes of gale's answers: one JSON object, a key a scenario. node openai_node.mjs BASE_URL
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "unused", maxRetries: 0 });
const model = "nano-flash";
const quiet = { chat_template_kwargs: { enable_thinking: false } };
const question = [{ role: "user", content: "Which port does the gale API use by default?" }];
const weather = [{ role: "user", content: "What is the weather in Oslo?" }];
const texts = ["a cup of tea", "gale is an inference server", "a cup of tea", "你好，世界"];
const parameters = {
  type: "object", properties: { city: { type: "string", description: "City name" } }, required: ["city"],
};
const tool = { name: "get_weather", description: "Get the weather of a city", parameters };
const City = z.object({ city: z.enum(["Oslo", "Rome"]), capital: z.boolean() });

async function chat() {
  const answer = await client.chat.completions.create({ model, messages: question, temperature: 0, ...quiet });
  return { text: answer.choices[0].message.content, finish: answer.choices[0].finish_reason, usage: answer.usage };
}

async function stream() {
  const deltas = [];
  const runner = client.chat.completions.stream({
    model, messages: question, temperature: 0, stream_options: { include_usage: true }, ...quiet,
  });
  runner.on("content", (delta) => deltas.push(delta));
  const text = await runner.finalContent();
  return { text, joined: deltas.join(""), usage: await runner.totalUsage() };
}

// The SDK's own loop: it calls the function and sends back what came out.
async function tools() {
  const calls = [];
  const runner = client.chat.completions.runTools({
    model, messages: weather, temperature: 0, stream: true, ...quiet,
    tools: [{
      type: "function",
      function: { ...tool, parse: JSON.parse, function: ({ city }) => (calls.push(city), { temperature: 7 }) },
    }],
  });
  return { text: await runner.finalContent(), calls };
}

async function parsed() {
  const answer = await client.chat.completions.parse({
    model, messages: [{ role: "user", content: "Tell me about a city" }], temperature: 0, max_tokens: 300,
    response_format: zodResponseFormat(City, "city"), ...quiet,
  });
  return answer.choices[0].message.parsed;
}

async function responses() {
  const kinds = [];
  const stream = client.responses.stream({ model, input: question[0].content, temperature: 0, max_output_tokens: 300 });
  for await (const event of stream) kinds.push(event.type);
  const final = await stream.finalResponse();
  return { kinds: [...new Set(kinds)], text: final.output_text, status: final.status };
}

async function responses_tools() {
  const stream = client.responses.stream({
    model, input: weather[0].content, temperature: 0, reasoning: { effort: "none" },
    tools: [{ type: "function", ...tool, strict: false }],
  });
  const final = await stream.finalResponse();
  return final.output.filter((item) => item.type === "function_call").map(({ name, arguments: text }) => [name, text]);
}

async function responses_parsed() {
  const answer = await client.responses.parse({
    model, input: "Tell me about a city", temperature: 0, max_output_tokens: 300, reasoning: { effort: "none" },
    text: { format: zodTextFormat(City, "city") },
  });
  return answer.output_parsed;
}

async function models() {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  return ids;
}

async function errors() {
  const seen = {};
  for (const [name, body] of Object.entries({ model: { model: "none", messages: question }, field: { model, messages: [] } })) {
    try {
      await client.chat.completions.create(body);
    } catch (error) {
      seen[name] = [error.constructor.name, error.status, error.code, error.param, Boolean(error.requestID)];
    }
  }
  return seen;
}

// Without encoding_format the SDK asks for base64 and makes floats of it by itself.
async function embeddings() {
  const ask = (input, more) => client.embeddings.create({ model, input, ...more });
  const vectors = (answer) => answer.data.map((item) => item.embedding);
  const all = await ask(texts);
  return {
    all: vectors(all), index: all.data.map((item) => item.index), usage: all.usage,
    floats: vectors(await ask(texts, { encoding_format: "float" })),
    alone: vectors(await ask(texts[0])), short: vectors(await ask(texts, { dimensions: 8 })),
    model: await client.models.retrieve(model).then((card) => card.embeddings),
  };
}

async function left() {
  const stream = await client.chat.completions.create({ model, messages: question, stream: true, ignore_eos: true });
  for await (const chunk of stream) if (chunk.choices.length) break;   // leaving the loop aborts the request
  return stream.controller.signal.aborted;
}

const scenarios = {
  chat, stream, tools, parsed, responses, responses_tools, responses_parsed, models, errors, embeddings, left,
};
const out = {};
for (const [name, run] of Object.entries(scenarios)) {
  out[name] = await run().catch((error) => ({ failed: String(error.stack) }));
}
console.log(JSON.stringify(out));
