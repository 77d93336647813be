// Two chats at once over one WebSocket: node websocket_chat.mjs ws://127.0.0.1:8000/v1/chat/completions [KEY]
// Node before 22 needs --experimental-websocket. In a browser the same code works; the key travels as a protocol there, too.
const [url, key] = process.argv.slice(2);
const socket = new WebSocket(url, key ? ["gale", `gale-key.${key}`] : ["gale"]);
const questions = { a: "Which port does the gale API use by default?", b: "Which port does the gale page use by default?" };
const answers = {};

socket.addEventListener("open", () => {
  for (const [request_id, question] of Object.entries(questions)) {
    answers[request_id] = "";
    socket.send(JSON.stringify({ request_id, messages: [{ role: "user", content: question }], max_tokens: 200, temperature: 0 }));
  }
});

const waiting = new Set(Object.keys(questions));
socket.addEventListener("message", (event) => {
  const message = JSON.parse(event.data);
  if (message.error) throw new Error(message.error.message);
  for (const choice of message.choices ?? []) answers[message.request_id] += choice.delta.content ?? "";
  if (message.type !== "done") return;
  waiting.delete(message.request_id);
  if (waiting.size > 0) return;
  for (const [request_id, answer] of Object.entries(answers)) console.log(`${request_id}: ${answer}`);
  socket.close();
});
socket.addEventListener("error", () => { console.error("the connection failed"); process.exitCode = 1; });
