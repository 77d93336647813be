// The words of the page. t('key', {n: 3}) gives the text in the chosen language; a missing key is an error that tests see.
import {en} from './words-en.js';
import {zh} from './words-zh.js';

export const languages = {en: {name: 'English', words: en}, 'zh-CN': {name: '简体中文', words: zh}};
let current = 'en';

export function choose(wanted) {
  const system =
    navigator.languages?.some((language) => language.toLowerCase().startsWith('zh')) &&
    !navigator.languages[0].toLowerCase().startsWith('en')
      ? 'zh-CN'
      : 'en';
  current = languages[wanted] ? wanted : system;
  document.documentElement.lang = current;
}

export const language = () => current;

export function t(key, values = {}) {
  const text = languages[current].words[key];
  if (text === undefined) throw new Error(`no words for '${key}' in ${current}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(current, {maximumFractionDigits: digits}).format(value);
export const dateTime = (ms) => new Intl.DateTimeFormat(current, {dateStyle: 'medium', timeStyle: 'short'}).format(ms);
export const duration = (ms) =>
  t('seconds', {n: ms < 100 ? `< ${number(0.1, 1)}` : number(ms / 1000, ms < 9950 ? 1 : 0)});
