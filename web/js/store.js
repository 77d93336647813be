// Conversations in IndexedDB, settings in localStorage; other tabs hear of changes. A write merges with what another tab wrote.
import {merge} from './conversation.js';

const NAME = 'gale';
const STORE = 'conversations';
const channel = new BroadcastChannel('gale');
const listeners = new Set();
channel.onmessage = (event) => listeners.forEach((listen) => listen(event.data));

let database = null;
const memory = new Map(); // where the browser keeps nothing

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

// Whether chats will outlive the page.
export async function open() {
  try {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, {keyPath: 'id'});
    database = await settled(request);
    return true;
  } catch {
    return false;
  }
}

export async function all() {
  return database ? settled(database.transaction(STORE).objectStore(STORE).getAll()) : [...memory.values()];
}

export async function load(id) {
  return database ? settled(database.transaction(STORE).objectStore(STORE).get(id)) : memory.get(id);
}

// Writes; the merged conversation. Fails with a QuotaExceededError where the browser has no room.
export async function save(conversation) {
  if (!database) {
    memory.set(conversation.id, conversation);
    return conversation;
  }
  const transaction = database.transaction(STORE, 'readwrite');
  const done = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error ?? new DOMException('aborted', 'QuotaExceededError'));
  });
  done.catch(() => {}); // told below; an error that comes first must not leave this one unheard
  const store = transaction.objectStore(STORE);
  const merged = merge(conversation, await settled(store.get(conversation.id)));
  store.put(merged);
  await done;
  channel.postMessage({kind: 'saved', id: conversation.id});
  return merged;
}

// Writes it as it is, whatever was there.
export async function put(conversation) {
  if (!database) return void memory.set(conversation.id, conversation);
  await settled(database.transaction(STORE, 'readwrite').objectStore(STORE).put(conversation));
  channel.postMessage({kind: 'saved', id: conversation.id});
}

export async function remove(id) {
  if (!database) return void memory.delete(id);
  await settled(database.transaction(STORE, 'readwrite').objectStore(STORE).delete(id));
  channel.postMessage({kind: 'removed', id});
}

export const onOtherTab = (listen) => listeners.add(listen);

const DEFAULTS = {
  language: '',
  theme: 'system',
  enterSends: true,
  developer: false,
  sidebar: true,
  model: {},
  presets: {},
};

function readSettings() {
  try {
    return {...DEFAULTS, ...JSON.parse(localStorage.getItem('gale-settings') ?? '{}')};
  } catch {
    return {...DEFAULTS};
  }
}
export const settings = readSettings();

export function keepSettings() {
  try {
    localStorage.setItem('gale-settings', JSON.stringify(settings));
  } catch {
    /* without storage they live as long as the page */
  }
  channel.postMessage({kind: 'settings'});
}
