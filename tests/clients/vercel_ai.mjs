// What Vercel's AI SDK makes of gale's answers: one JSON object, a key a scenario. node vercel_ai.mjs BASE_URL
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, cosineSimilarity, embed, embedMany, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const gale = createOpenAICompatible({
  name: "gale", baseURL: `${process.argv[2]}/v1`, apiKey: "unused", includeUsage: true, supportsStructuredOutputs: true,
});
const model = gale("nano-flash");
const quiet = { gale: { chat_template_kwargs: { enable_thinking: false } } };
const plain = { model, temperature: 0, maxRetries: 0 };
const question = "Which port does the gale API use by default?";

async function chat() {
  const answer = await generateText({ ...plain, prompt: question, providerOptions: quiet });
  return { text: answer.text, finish: answer.finishReason, tokens: answer.usage.outputTokens };
}

async function stream() {
  const kinds = [];
  const answer = streamText({ ...plain, prompt: question });
  for await (const part of answer.fullStream) kinds.push(part.type);
  return {
    kinds: [...new Set(kinds)], text: await answer.text, reasoning: await answer.reasoningText,
    finish: await answer.finishReason, tokens: (await answer.usage).outputTokens,
  };
}

async function tools() {
  const calls = [];
  const answer = streamText({
    ...plain, prompt: "What is the weather in Oslo?", providerOptions: quiet, stopWhen: isStepCount(3),
    tools: {
      get_weather: tool({
        description: "Get the weather of a city",
        inputSchema: z.object({ city: z.string().describe("City name") }),
        execute: async ({ city }) => (calls.push(city), { temperature: 7 }),
      }),
    },
  });
  await answer.consumeStream();
  return { calls, text: await answer.text, steps: (await answer.steps).length };
}

async function parsed() {
  const schema = z.object({ city: z.enum(["Oslo", "Rome"]), capital: z.boolean() });
  const answer = await generateText({
    ...plain, prompt: "Tell me about a city", providerOptions: quiet, maxOutputTokens: 300,
    output: Output.object({ schema }),
  });
  return answer.output;
}

async function embeddings() {
  const plain = { model: gale.embeddingModel("nano-flash"), maxRetries: 0 };
  const values = ["a cup of tea", "gale is an inference server", "a cup of tea", "你好，世界"];
  const many = await embedMany({ ...plain, values });
  const one = await embed({ ...plain, value: values[0] });
  const short = await embedMany({ ...plain, values, providerOptions: { gale: { dimensions: 8 } } });
  return {
    all: many.embeddings, tokens: many.usage.tokens, alone: [one.embedding], short: short.embeddings,
    same: cosineSimilarity(many.embeddings[0], many.embeddings[2]),
    other: cosineSimilarity(many.embeddings[0], many.embeddings[1]),
  };
}

async function errors() {
  try {
    await generateText({ ...plain, model: gale("none"), prompt: question });
    return null;
  } catch (error) {
    return [error.name, error.statusCode, error.message];
  }
}

const scenarios = { chat, stream, tools, parsed, embeddings, errors };
const out = {};
for (const [name, run] of Object.entries(scenarios)) {
  out[name] = await run().catch((error) => ({ failed: String(error.stack) }));
}
console.log(JSON.stringify(out));
