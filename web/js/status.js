// The light that says how the server is: by shape and words, never by colour alone.
import {h, icon, openMenu, replace} from './dom.js';
import {number, t} from './i18n.js';
import {ApiError, ask, askJson, readMetrics} from './api.js';
import {emit, on, state} from './app-state.js';

const READY_MS = 5000;
const TROUBLE_MS = [1000, 1000, 2000, 4000, 8000];
const FULL = 0.9; // of the memory for contexts

const LIGHTS = {
  ready: ['ready', 'green'],
  busy: ['busy', 'yellow'],
  loading: ['busy', 'yellow'],
  draining: ['busy', 'yellow'],
  checking: ['busy', 'grey'],
  stalled: ['down_light', 'red'],
  down: ['down_light', 'red'],
};

// What a failed /ready says.
function readTrouble(error, body) {
  if (error.code === 'page_gone') return {kind: 'down', reason: t('status_page_gone')};
  const kind = {loading: 'loading', draining: 'draining', stalled: 'stalled'}[body?.status] ?? 'down';
  return {kind, reason: body?.reason ?? error.message};
}

async function check() {
  const response = await fetch('/ready', {cache: 'no-store'}).catch(() => null);
  if (!response) return readTrouble(new ApiError(0, '', {code: 'page_gone'}));
  const body = await response.json().catch(() => null);
  if (response.status === 401) return {kind: 'down', reason: body?.error?.message ?? '', needsLogin: true};
  if (!response.ok) return readTrouble(new ApiError(response.status, body?.error?.message ?? ''), body);
  const metrics = await ask('GET', '/metrics')
    .then((answer) => answer.text())
    .then(readMetrics)
    .catch(() => ({}));
  const numWaiting = metrics.num_requests_waiting ?? 0;
  return {
    kind: numWaiting > 0 ? 'busy' : 'ready',
    numWaiting,
    numRunning: metrics.num_requests_running ?? 0,
    memory: metrics.kv_cache_usage_perc ?? 0,
  };
}

export class StatusLight {
  constructor(place) {
    this.words = h('span', {class: 'light-words'});
    this.button = h('button', {type: 'button', class: 'light', 'aria-haspopup': 'true', onclick: () => this.explain()});
    this.attempt = 0;
    replace(place, this.button, h('span', {class: 'visually-hidden', role: 'status'}));
    this.live = place.lastElementChild;
    document.addEventListener('visibilitychange', () => !document.hidden && this.look());
    on('answer-end', () => this.look());
    this.draw();
    this.look();
  }

  async look() {
    clearTimeout(this.timer);
    const before = state.status;
    state.status = await check();
    if (state.status.needsLogin) emit('login-needed');
    const isWell = ['ready', 'busy'].includes(state.status.kind);
    if (isWell && !state.models.length) await this.learnModels();
    this.attempt = isWell ? 0 : this.attempt + 1;
    this.wait = isWell ? READY_MS : TROUBLE_MS[Math.min(this.attempt, TROUBLE_MS.length) - 1];
    this.timer = setTimeout(() => (document.hidden ? null : this.look()), this.wait);
    this.draw();
    if (before.kind !== state.status.kind) this.live.textContent = this.text();
  }

  async learnModels() {
    try {
      state.models = (await askJson('GET', '/v1/models')).data ?? [];
      state.defaults = (await askJson('GET', '/server_info').catch(() => ({}))).sampling_defaults ?? {};
      emit('models');
    } catch {
      /* the next look asks again */
    }
  }

  // What is the matter, and why: on a narrow page there is room for the first alone.
  parts() {
    const {kind, reason, numWaiting, memory} = state.status;
    const parts = [t(`status_${kind}`)];
    if (numWaiting > 0) parts.push(t('status_waiting', {n: number(numWaiting)}));
    if (memory >= FULL) parts.push(t('status_memory', {n: number(memory * 100)}));
    return [parts.join(' · '), reason && kind !== 'ready' ? ` · ${reason}` : ''];
  }

  text() {
    return this.parts().join('');
  }

  draw() {
    const {kind} = state.status;
    const [shape, colour] = LIGHTS[kind];
    this.button.className = `light ${colour}`;
    this.button.title = this.text();
    this.button.setAttribute('aria-label', `${t('status_title')}: ${this.text()}`);
    const [what, why] = this.parts();
    replace(this.words, what, h('span', {class: 'light-reason'}, why));
    replace(this.button, icon(shape), this.words);
  }

  explain() {
    const {kind, numRunning = 0, numWaiting = 0, memory = 0} = state.status;
    const lines = ['ready', 'busy'].includes(kind)
      ? [
          `${t('model')}: ${state.models[0]?.id ?? '–'}`,
          t('status_running', {n: number(numRunning)}),
          t('status_waiting', {n: number(numWaiting)}),
          t('status_memory', {n: number(memory * 100)}),
        ]
      : [this.text(), t('status_retry', {n: number(this.wait / 1000)})];
    openMenu(
      this.button,
      lines.map((label) => ({label, icon: LIGHTS[kind][0], run: () => this.look()})),
    );
  }
}
