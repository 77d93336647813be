// A conversation is a tree of messages. Editing or answering again adds a sibling; nothing is ever overwritten. `active` of a
// node (or of the conversation, for the first message) names the child that is shown.

export const newId = () => crypto.randomUUID();

export function newConversation() {
  const now = Date.now();
  return {
    id: newId(),
    title: '',
    isTitleChosen: false,
    isPinned: false,
    created: now,
    updated: now,
    settings: {},
    nodes: {},
    active: null,
    firstSent: null,
  };
}

export function addNode(conversation, parent, fields) {
  const node = {id: newId(), parent, active: null, created: Date.now(), changed: Date.now(), content: '', ...fields};
  conversation.nodes[node.id] = node;
  setActive(conversation, node);
  conversation.updated = Date.now();
  return node;
}

function setActive(conversation, node) {
  if (node.parent === null) conversation.active = node.id;
  else conversation.nodes[node.parent].active = node.id;
  touch(conversation, node.parent === null ? null : conversation.nodes[node.parent]);
}

// A node that changed is the one that counts when two tabs meet.
export function touch(conversation, node) {
  conversation.updated = Date.now();
  if (node) node.changed = conversation.updated;
}

// The messages that are shown, from the first on.
export function path(conversation) {
  const out = [];
  for (let id = conversation.active; id; id = conversation.nodes[id].active) out.push(conversation.nodes[id]);
  return out;
}

export function siblings(conversation, node) {
  return Object.values(conversation.nodes)
    .filter((other) => other.parent === node.parent && other.role === node.role)
    .sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
}

// Shows the sibling `step` places on.
export function showSibling(conversation, node, step) {
  const all = siblings(conversation, node);
  const other = all[all.indexOf(node) + step];
  if (other) setActive(conversation, other);
  return other;
}

// The first words of the first message.
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = path(conversation)[0];
  return first ? first.content.trim().replace(/\s+/g, ' ').slice(0, 60) || first.attachments?.[0]?.name || '' : '';
}

export const textOf = (conversation) =>
  [titleOf(conversation), ...Object.values(conversation.nodes).map((node) => node.content)].join('\n');

// What a user message says to the model: its text, with the text of its files before it.
export function contentOf(node) {
  const files = (node.attachments ?? []).map(
    (file) => `<file name=${JSON.stringify(file.name)}>\n${file.text}\n</file>\n\n`,
  );
  return files.join('') + node.content;
}

// Messages for the API. Thinking is kept only within a turn of tool calls, where the template wants it.
export function messagesFor(conversation, until, systemPrompt) {
  const shown = [];
  for (let node = until; node; node = node.parent === null ? null : conversation.nodes[node.parent])
    shown.unshift(node);
  const from = conversation.firstSent ? shown.findIndex((node) => node.id === conversation.firstSent) : 0;
  const sent = shown.slice(Math.max(from, 0));
  const lastUser = sent.findLastIndex((node) => node.role === 'user');
  const out = systemPrompt ? [{role: 'system', content: systemPrompt}] : [];
  sent.forEach((node, index) => {
    if (node.role === 'user') out.push({role: 'user', content: contentOf(node)});
    else if (node.role === 'tool') out.push({role: 'tool', tool_call_id: node.toolCallId, content: node.content});
    else {
      const message = {role: 'assistant', content: node.content};
      if (node.toolCalls?.length) {
        message.tool_calls = node.toolCalls.map((call) => ({
          id: call.id,
          type: 'function',
          function: {name: call.name, arguments: call.arguments},
        }));
        if (index > lastUser && node.reasoning) message.reasoning_content = node.reasoning;
      }
      out.push(message);
    }
  });
  return out;
}

// Two tabs' copies of one conversation: every message of both; of each message the one that changed last.
export function merge(mine, theirs) {
  if (!theirs) return mine;
  const newer = mine.updated >= theirs.updated ? mine : theirs;
  const nodes = {...theirs.nodes};
  for (const [id, node] of Object.entries(mine.nodes))
    if (!nodes[id] || nodes[id].changed <= node.changed) nodes[id] = node;
  return {...newer, nodes};
}

export function toMarkdown(conversation, labels) {
  const parts = [`# ${titleOf(conversation) || labels.untitled}`];
  for (const node of path(conversation)) {
    const who = {user: labels.you, assistant: labels.assistant, tool: labels.tool}[node.role];
    const thinking = node.reasoning ? [node.reasoning.trim().replace(/^/gm, '> ')] : [];
    const calls = (node.toolCalls ?? []).map(
      (call) => '```json\n' + JSON.stringify({name: call.name, arguments: call.arguments}, null, 2) + '\n```',
    );
    const files = (node.attachments ?? []).map((file) => `*${file.name}*`);
    parts.push([`## ${who}`, ...files, ...thinking, node.content, ...calls].filter(Boolean).join('\n\n'));
  }
  return parts.join('\n\n') + '\n';
}

const FORMAT = 'gale-conversations';
export const toJson = (conversations) => JSON.stringify({format: FORMAT, version: 1, conversations}, null, 1);

const isText = (value) => typeof value === 'string';
const isTime = (value) => Number.isFinite(value);

function checkNode(id, node, nodes) {
  if (node?.id !== id || !isText(node.content) || !['user', 'assistant', 'tool'].includes(node.role))
    return `message ${id}`;
  if (!isTime(node.created) || !isTime(node.changed)) return `times of message ${id}`;
  for (const link of [node.parent, node.active])
    if (link !== null && !nodes[link]) return `message ${id} leads to ${link}`;
  const seen = new Set();
  for (let at = node; at; at = at.parent === null ? null : nodes[at.parent]) {
    if (seen.has(at.id)) return `message ${id} is its own ancestor`;
    seen.add(at.id);
  }
  if (node.active !== null && nodes[node.active].parent !== id) return `message ${id} leads to another's answer`;
  if (
    node.attachments &&
    !(Array.isArray(node.attachments) && node.attachments.every((file) => isText(file?.name) && isText(file.text)))
  )
    return `files of message ${id}`;
  if (
    node.toolCalls &&
    !(Array.isArray(node.toolCalls) && node.toolCalls.every((call) => isText(call?.name) && isText(call.arguments)))
  )
    return `tool calls of ${id}`;
  return null;
}

// The conversations in an exported file; throws an Error that says what is wrong with it.
export function fromJson(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error('JSON');
  }
  if (data?.format !== FORMAT || data.version !== 1 || !Array.isArray(data.conversations))
    throw new Error(`format ${FORMAT} 1`);
  for (const one of data.conversations) {
    if (
      !isText(one?.id) ||
      !isText(one.title) ||
      !isTime(one.created) ||
      !isTime(one.updated) ||
      typeof one.nodes !== 'object' ||
      !one.nodes
    )
      throw new Error('conversation');
    if (typeof one.settings !== 'object' || !one.settings) throw new Error('settings');
    if (one.active !== null && !one.nodes[one.active]) throw new Error('active');
    for (const [id, node] of Object.entries(one.nodes)) {
      const trouble = checkNode(id, node, one.nodes);
      if (trouble) throw new Error(trouble);
    }
  }
  return data.conversations;
}
