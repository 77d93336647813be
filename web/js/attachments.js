// Files that go with a message: their text is read by the page's server, their length is told before they are sent.
import {t} from './i18n.js';
import {state} from './app-state.js';
import {countTokens} from './generate.js';

const texts = new WeakSet();
// Marks a file as text that the page made itself: nobody has to find out what is in it.
export const asText = (file) => {
  texts.add(file);
  return file;
};

const REASONS = {
  encrypted: 'file_encrypted',
  timeout: 'file_time',
  damaged: 'file_broken',
  not_text: 'file_unknown',
  no_text: 'file_empty',
};

// "1-3, 7" of `count` pages as their numbers; all where it says nothing that can be understood.
export function pagesOf(text, count) {
  const out = new Set();
  for (const part of text.split(',')) {
    const found = /^\s*(\d+)\s*(?:[-–]\s*(\d+)?)?\s*$/.exec(part);
    if (!found) continue;
    const last = found[2] ? Number(found[2]) : /[-–]/.test(part) ? count : Number(found[1]);
    for (let page = Number(found[1]); page <= Math.min(last, count); page++) if (page >= 1) out.add(page);
  }
  return out.size ? [...out].sort((a, b) => a - b) : Array.from({length: count}, (_, index) => index + 1);
}

// Fills `entry`: text, tokens, pages. Throws an Error whose message is for people. `redraw` when a number has come later.
export async function readFile(file, entry, redraw) {
  const limit = state.limits.upload_bytes;
  if (limit && file.size > limit) throw new Error(t('file_too_large', {mb: Math.round(limit / 1e6)}));
  const pages = texts.has(file) ? [await file.text()] : await extract(file);
  if (!pages.some((page) => page.trim())) throw new Error(t('file_empty'));
  entry.numPages = pages.length;
  entry.choosePages = async (range) => {
    const chosen = pagesOf(range, pages.length);
    entry.text = chosen
      .map((page) => pages[page - 1])
      .join('\n\n')
      .trim();
    entry.pages = pages.length > 1 ? describe(chosen) : '';
    entry.tokens = null;
    entry.tokens = await countTokens(entry.text);
    redraw();
  };
  await entry.choosePages('');
}

// 1, 2, 3, 7 → "1-3, 7"
function describe(pages) {
  const runs = [];
  for (const page of pages) {
    if (runs.length && runs.at(-1)[1] === page - 1) runs.at(-1)[1] = page;
    else runs.push([page, page]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}

async function extract(file) {
  let response;
  try {
    response = await fetch('/ui/extract', {
      method: 'POST',
      body: file,
      headers: {'Content-Type': 'application/octet-stream', 'X-Gale-Page': '1'},
      cache: 'no-store',
    });
  } catch (error) {
    throw new Error(error.message);
  }
  const body = await response.json();
  if (response.ok) return body.pages;
  throw new Error(
    REASONS[body.error?.code] ? t(REASONS[body.error.code]) : (body.error?.message ?? String(response.status)),
  );
}
