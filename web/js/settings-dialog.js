// Settings: of the page, of the model (for all chats and for this one), the chats as data, the shortcuts.
import {confirmDialog, download, h, icon, openDialog, replace, toast} from './dom.js';
import {languages, number, t} from './i18n.js';
import {effective, emit, keep, settings, state} from './app-state.js';
import {fromJson, toJson, touch} from './conversation.js';
import * as store from './store.js';
import {shortcutList} from './shortcuts.js';

const RANGES = {
  temperature: [0, 2],
  top_p: [0, 1],
  top_k: [0, 1000],
  min_p: [0, 1],
  presence_penalty: [-2, 2],
  frequency_penalty: [-2, 2],
  repetition_penalty: [0.01, 10],
  max_tokens: [1, 10000000],
  seed: [-1, Number.MAX_SAFE_INTEGER],
};

function select(label, value, choices, onchange) {
  return h(
    'label',
    {class: 'setting'},
    h('span', {}, label),
    h(
      'select',
      {class: 'field', onchange: (event) => onchange(event.target.value)},
      choices.map(([key, name]) => h('option', {value: key, selected: key === value}, name)),
    ),
  );
}

function toggle(label, help, value, onchange) {
  return h(
    'label',
    {class: 'setting switch'},
    h('span', {}, label, help && h('small', {}, help)),
    h('input', {type: 'checkbox', role: 'switch', checked: value, onchange: (event) => onchange(event.target.checked)}),
  );
}

function changed() {
  store.keepSettings();
  emit('settings');
  emit('change');
}

function general(redraw) {
  const set = (key) => (value) => {
    settings[key] = value;
    changed();
    redraw();
  };
  return [
    select(
      t('language'),
      settings.language,
      [['', t('theme_system')], ...Object.entries(languages).map(([key, {name}]) => [key, name])],
      set('language'),
    ),
    select(
      t('theme'),
      settings.theme,
      [
        ['system', t('theme_system')],
        ['light', t('theme_light')],
        ['dark', t('theme_dark')],
      ],
      set('theme'),
    ),
    toggle(t('enter_sends'), '', settings.enterSends, set('enterSends')),
    toggle(t('developer'), t('developer_help'), settings.developer, set('developer')),
    state.hasPassword && h('button', {type: 'button', class: 'button', onclick: () => emit('log-out')}, t('log_out')),
  ];
}

// Fields of the request. `values` is what they write to; blank leaves it to what `inherited` says, else to the server.
function modelFields(values, inherited, onchange) {
  const placeholder = (name) => {
    if (inherited[name]) return t('from_all', {value: inherited[name]});
    return name in state.defaults ? t('server_default_is', {value: number(state.defaults[name], 6)}) : t('server_default');
  };
  const set = (name, value) => {
    if (value === '' || value === false) delete values[name];
    else values[name] = value;
    onchange();
  };
  const numberField = (name) => {
    const [min, max] = RANGES[name];
    const trouble = h('small', {class: 'trouble', role: 'alert'});
    return h(
      'label',
      {class: 'setting'},
      h('span', {}, t(name), trouble),
      h('input', {
        class: 'field',
        inputmode: 'decimal',
        value: values[name] ?? '',
        placeholder: placeholder(name),
        onchange: (event) => {
          const text = event.target.value.trim();
          const isGood = text === '' || (Number.isFinite(Number(text)) && Number(text) >= min && Number(text) <= max);
          trouble.textContent = isGood ? '' : t('bad_number', {min, max});
          event.target.setAttribute('aria-invalid', String(!isGood));
          if (isGood) set(name, text);
        },
      }),
    );
  };
  const textField = (name, key, check = () => true) => {
    const trouble = h('small', {class: 'trouble', role: 'alert'});
    return h(
      'label',
      {class: 'setting tall'},
      h('span', {}, t(key), trouble),
      h('textarea', {
        class: 'field',
        rows: '3',
        value: values[name] ?? '',
        placeholder: placeholder(name),
        onchange: (event) => {
          const isGood = check(event.target.value);
          trouble.textContent = isGood ? '' : t('bad_json');
          if (isGood) set(name, event.target.value.trim() ? event.target.value : '');
        },
      }),
    );
  };
  const isObject = (text) => {
    try {
      return (
        !text.trim() ||
        (JSON.parse(text) !== null && typeof JSON.parse(text) === 'object' && !Array.isArray(JSON.parse(text)))
      );
    } catch {
      return false;
    }
  };
  return [
    textField('system', 'system_prompt'),
    select(
      t('thinking'),
      values.thinking ?? '',
      [
        ['', t('default')],
        ['on', t('on')],
        ['off', t('off')],
      ],
      (value) => set('thinking', value),
    ),
    select(
      t('thinking_effort'),
      values.effort ?? '',
      [['', t('default')], ...['low', 'medium', 'high'].map((one) => [one, t(`effort_${one}`)])],
      (value) => set('effort', value),
    ),
    Object.keys(RANGES).map(numberField),
    textField('stop', 'stop_texts'),
    toggle(t('json_mode'), '', values.json ?? false, (value) => set('json', value)),
    textField('extra', 'extra_json', isObject),
  ];
}

function modelTab(redraw, scope, setScope) {
  const isOwn = scope === 'chat' && state.current;
  const values = isOwn ? state.current.settings : settings.model;
  const onchange = () => {
    if (isOwn) {
      touch(state.current, null);
      keep(state.current);
      emit('change');
    } else changed();
  };
  const presetName = h('input', {
    class: 'field',
    placeholder: t('preset_name'),
    'aria-label': t('preset_name'),
    maxlength: '60',
  });
  return [
    h(
      'div',
      {class: 'segments', role: 'group'},
      [
        ['all', t('for_all')],
        ['chat', t('for_this')],
      ].map(([key, label]) =>
        h(
          'button',
          {
            type: 'button',
            'aria-pressed': String(key === scope),
            onclick: () => {
              setScope(key);
              redraw();
            },
          },
          label,
        ),
      ),
    ),
    h('p', {class: 'setting-note'}, t('blank_is_default')),
    Object.keys(settings.presets).length > 0 &&
      select(
        t('presets'),
        '',
        [['', t('preset_none')], ...Object.keys(settings.presets).map((name) => [name, name])],
        (name) => {
          for (const key of Object.keys(values)) delete values[key];
          Object.assign(values, settings.presets[name] ?? {});
          onchange();
          redraw();
        },
      ),
    modelFields(values, isOwn ? settings.model : {}, onchange),
    h(
      'div',
      {class: 'dialog-actions'},
      presetName,
      h(
        'button',
        {
          type: 'button',
          class: 'button',
          onclick: () => {
            if (!presetName.value.trim()) return presetName.focus();
            settings.presets[presetName.value.trim()] = {...effective(isOwn ? state.current : null)};
            changed();
            redraw();
          },
        },
        t('preset_save'),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'button',
          onclick: () => {
            for (const key of Object.keys(values)) delete values[key];
            onchange();
            redraw();
          },
        },
        t('reset'),
      ),
    ),
  ];
}

async function importFile(file) {
  try {
    const found = fromJson(await file.text());
    for (const conversation of found) await store.put(conversation);
    emit('reload-chats');
    toast(t('imported', {n: found.length}));
  } catch (error) {
    toast(t('import_bad', {why: error.message}));
  }
}

function dataTab() {
  const picker = h('input', {
    type: 'file',
    accept: '.json,application/json',
    hidden: true,
    onchange: () => picker.files[0] && importFile(picker.files[0]),
  });
  return [
    h(
      'button',
      {
        type: 'button',
        class: 'row-button',
        onclick: () => download('gale-chats.json', 'application/json', toJson(state.conversations)),
      },
      icon('download'),
      t('export_all'),
    ),
    h('button', {type: 'button', class: 'row-button', onclick: () => picker.click()}, icon('upload'), t('import')),
    picker,
    h(
      'button',
      {
        type: 'button',
        class: 'row-button danger',
        onclick: async () => {
          if (!(await confirmDialog(t('delete_all_question'), {yes: t('delete'), no: t('cancel')}))) return;
          for (const conversation of state.conversations) await store.remove(conversation.id);
          emit('reload-chats');
        },
      },
      icon('trash'),
      t('delete_all'),
    ),
  ];
}

const keysTab = () =>
  h(
    'dl',
    {class: 'keys'},
    shortcutList().map(([keys, label]) => [
      h(
        'dt',
        {},
        keys.map((key) => h('kbd', {}, key)),
      ),
      h('dd', {}, label),
    ]),
  );

export function openSettings(tab = 'general') {
  let scope = 'all';
  const body = h('div', {class: 'settings-body'});
  const tabs = h('div', {class: 'tabs', role: 'tablist'});
  const frame = h('div', {class: 'settings-frame'});
  const draw = () => {
    const names = [
      ['general', 'general'],
      ['model', 'model_settings'],
      ['data', 'data'],
      ['keys', 'keys'],
    ];
    replace(
      tabs,
      names.map(([key, label]) =>
        h(
          'button',
          {
            type: 'button',
            role: 'tab',
            'aria-selected': String(key === tab),
            onclick: () => {
              tab = key;
              draw();
            },
          },
          t(label),
        ),
      ),
    );
    const content = {
      general: () => general(draw),
      model: () =>
        modelTab(draw, scope, (value) => {
          scope = value;
        }),
      data: () => dataTab(),
      keys: () => keysTab(),
    }[tab]();
    replace(body, content);
    body.setAttribute('aria-label', t(Object.fromEntries(names)[tab]));
    replace(
      frame,
      h(
        'header',
        {class: 'dialog-head'},
        h('h2', {}, t('settings')),
        h(
          'button',
          {
            type: 'button',
            class: 'icon-button',
            'aria-label': t('close'),
            title: t('close'),
            onclick: (event) => event.target.closest('dialog').close(''),
          },
          icon('close'),
        ),
      ),
      tabs,
      body,
    );
  };
  body.setAttribute('role', 'tabpanel');
  draw();
  return openDialog(frame, {label: t('settings'), wide: true});
}
