"""Chat templates against Python's jinja2, set up as transformers does, byte for byte."""

import hashlib
import itertools
import json
import re

import pytest
from conftest import ROOT
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NANO = ROOT / "models/nano-flash/chat_template.jinja"
FLASH = "GLM-4.7-Flash.jinja"


def llama_templates():
    """The folder of templates that the build unpacked beside the Jinja engine."""
    found = sorted((ROOT.home() / ".cache/gale").glob("llama-cpp-python-*/*/vendor/llama.cpp/models/templates"))
    assert found, "no templates below ~/.cache/gale: configure the build first, it unpacks them"
    return found[-1]


def template_path(name):
    return NANO if name == "nano-flash" else llama_templates() / name


def environment():
    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise ValueError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def python_messages(messages):
    """What normalise_messages promises, in the cases below: text content, parsed arguments."""
    out = []
    for message in messages:
        message = {key: value for key, value in message.items() if value is not None}
        content = message.get("content", "")
        message["content"] = content if isinstance(content, str) else "".join(part["text"] for part in content)
        if "tool_calls" in message:
            message["tool_calls"] = json.loads(json.dumps(message["tool_calls"]))
            for call in message["tool_calls"]:
                if isinstance(call["function"]["arguments"], str):
                    call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        out.append(message)
    return out


def python_render(source, request):
    return environment().from_string(source).render(
        messages=python_messages(request["messages"]), tools=request.get("tools"), documents=None,
        add_generation_prompt=request.get("add_generation_prompt", True), **request.get("kwargs", {}))


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"]}}}
ODD_TOOL = {"type": "function", "function": {
    "name": "测试", "description": "引号\"\\/\n\t\u0001\u007f\u2028 <|user|> 👋", "strict": None,
    "x": [1.0, 1e-7, 1e16, -0.0, 123456789012, 1.5e300, True]}}


def call(name, arguments, as_text=True):
    return {"id": "call_1", "type": "function",
            "function": {"name": name,
                         "arguments": json.dumps(arguments, ensure_ascii=False) if as_text else arguments}}


ROUND_TRIP = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "reasoning_content": "need tool", "tool_calls": [
        call("get_weather", {"city": "Oslo", "days": 2, "x": ["é", True, None, 1.5, {"a": 1}]}), call("get_time", {})]},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"t":1}'},
    {"role": "tool", "tool_call_id": "call_2", "content": 
                                                          [{"type": "text", "text": "12"},
                                                           {"type": "text", "text": ":00"}]},
]
ODD_ARGUMENTS = {"items": 1.0, "keys": None, "none": [None, 2.50, 1e22], "text": " \n<b>x</b> ",
                 "nested": {"a": {"b": []}}, "empty": {},
                 "文": "值", "flag": False, "big": 18446744073709551615, "negative": -3}
CONVERSATIONS = {
    "hi": [{"role": "user", "content": "Hi"}],
    "system": [{"role": "system", "content": "SYS"}, {"role": "user", "content": "Hi"}],
    "two_systems": [{"role": "system", "content": "A"}, {"role": "system", "content": "B "},
                    {"role": "user", "content": "Hi"}],
    "turns": [{"role": "system", "content": "SYS"}, {"role": "user", "content": "Hi"},
              {"role": "assistant", "content": "Hello!", "reasoning_content": "R1"},
              {"role": "user", "content": "Bye"}],
    "thought_in_content": [{"role": "user", "content": "a"},
                           {"role": "assistant", "content": "<think>\nR\n</think>\n\nA "},
                           {"role": "user", "content": "b"}, {"role": "assistant", "content": "x</think>y</think>\nz"}],
    "blank_reasoning": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b ",
                                                           "reasoning_content": "  "}],
    "no_user": [{"role": "assistant", "content": "b", "reasoning_content": "r"}],
    "blanks": [{"role": "user", "content": "  \n a \n "}, {"role": "assistant", "content": "\n b \n"},
               {"role": "user", "content": ""}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b\n"}]}],
    "chinese": [{"role": "system", "content": "你是助手。"}, {"role": "user", "content": "你好，世界！\u3000"}],
    "emoji": [{"role": "user", "content": "👩‍👩‍👧‍👦 👋🏽 🇩🇪 e\u0301"}, {"role": "assistant", "content": "❤️"},
              {"role": "user", "content": "🙂"}],
    "round_trip": ROUND_TRIP,
    "after_round_trip": ROUND_TRIP + [{"role": "assistant", "content": "12:00"}, {"role": "user", "content": "thanks"}],
    "odd_arguments": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [
        call("f", ODD_ARGUMENTS), call("g", ODD_ARGUMENTS, as_text=False)]}, {"role": "tool", "content": ""}],
    "control_tokens": [{"role": "system", "content": "<|system|>[gMASK]"},
                       {"role": "user", "content": "<|user|>\n<|assistant|><think>"},
                       {"role": "assistant", "content": "</tool_call><|observation|>", "reasoning_content": "<|user|>"},
                       {"role": "user", "content": "{{ 7 * 7 }} {% raw %}"}],
}
TOOLS = {"no_tools": None, "tools": [WEATHER], "odd_tools": [WEATHER, ODD_TOOL]}
KWARGS = {"default": {}, "thinking": {"enable_thinking": True}, "no_thinking": {"enable_thinking": False},
          "keep": {"clear_thinking": False}, "clear": {"clear_thinking": True, "enable_thinking": False}}


def requests():
    for (name, messages), (tool_name, tools), (kwargs_name, kwargs), prompt in itertools.product(
            CONVERSATIONS.items(), TOOLS.items(), KWARGS.items(), (True, False)):
        request = {"messages": messages, "kwargs": kwargs, "add_generation_prompt": prompt}
        if tools:
            request["tools"] = tools
        yield f"{name}/{tool_name}/{kwargs_name}/{prompt}", request


def text_of(answer):
    assert "segments" in answer, answer
    return "".join(text for text, _ in answer["segments"])


@pytest.mark.parametrize("name", ["nano-flash", FLASH, "GLM-4.6.jinja"])
def test_the_matrix_of_messages_renders_as_in_python(render_chat, name):
    path = template_path(name)
    source = path.read_text(encoding="utf-8")
    cases = list(requests())
    for (label, request), answer in zip(cases, render_chat.answers(path, lines=[request for _, request in cases])):
        assert text_of(answer) == python_render(source, request), label


def test_the_official_template_is_the_one_of_the_specification():
    assert hashlib.sha256(template_path(FLASH).read_bytes()).hexdigest().startswith("d63ad536")


LITERAL = [
    ({"messages": CONVERSATIONS["hi"]}, "[gMASK]<sop><|user|>Hi<|assistant|><think>"),
    ({"messages": CONVERSATIONS["hi"], "kwargs": {"enable_thinking": False}},
     "[gMASK]<sop><|user|>Hi<|assistant|></think>"),
    ({"messages": CONVERSATIONS["turns"]},
     "[gMASK]<sop><|system|>SYS<|user|>Hi<|assistant|></think>Hello!<|user|>Bye<|assistant|><think>"),
    ({"messages": CONVERSATIONS["turns"], "kwargs": {"clear_thinking": False}},
     "[gMASK]<sop><|system|>SYS<|user|>Hi<|assistant|><think>R1</think>Hello!<|user|>Bye<|assistant|><think>"),
    ({"messages": ROUND_TRIP, "tools": [WEATHER]},
     '[gMASK]<sop><|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are '
     'provided with '
     'function signatures within <tools></tools> XML tags:\n<tools>\n{"type": "function", "function": {"name": '
     '"get_weather", '
     '"description": "Get weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, '
     '"days": '
     '{"type": "integer"}}, "required": ["city"]}}}\n</tools>\n\nFor each function call, output the function name and '
     'arguments '
     'within the following XML '
     'format:\n<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}'
     '</arg_value><arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call><|user|>Hi'
     '<|assistant|>'
     '<think>need '
     'tool</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>days</arg_key>'
     '<arg_value>2</arg_value><arg_key>x</arg_key><arg_value>["é", true, null, 1.5, {"a": 1}]</arg_value></tool_call>'
     '<tool_call>get_time</tool_call><|observation|><tool_response>{"t":1}</tool_response>'
     '<tool_response>12:00</tool_response>'
     '<|assistant|><think>'),
]


@pytest.mark.parametrize("name", ["nano-flash", FLASH])
def test_the_examples_of_the_specification(render_chat, name):
    answers = render_chat.answers(template_path(name), lines=[request for request, _ in LITERAL])
    assert [text_of(answer) for answer in answers] == [text for _, text in LITERAL]


@pytest.mark.parametrize("name", ["nano-flash", FLASH, "GLM-4.6.jinja"])
def test_nothing_that_a_client_sent_is_marked_as_the_templates_own(render_chat, name):
    def marked(value):
        """The request with a unique word in every string, so that it can be found again."""
        if isinstance(value, str):
            return f"CLIENT{value}CLIENT"
        if isinstance(value, list):
            return [marked(item) for item in value]
        if isinstance(value, dict):
            return {f"CLIENT{key}": marked(item) for key, item in value.items()}
        return value

    lines = []
    for _, request in requests():
        messages = [dict(message) for message in python_messages(request["messages"])]
        for message in messages:
            message["content"] = marked(message["content"])
            if "reasoning_content" in message:
                message["reasoning_content"] = marked(message["reasoning_content"])
            for one in message.get("tool_calls", []):
                one["function"] = {"name": marked(one["function"]["name"]),
                                   "arguments": marked(one["function"]["arguments"])}
        lines.append({**request, "messages": messages, "tools": marked(request.get("tools"))})
    for answer in render_chat.answers(template_path(name), lines=lines):
        own = "".join(text for text, is_template in answer["segments"] if is_template)
        assert "CLIENT" not in own
        assert "<|assistant|>" in own or "<|user|>" in own or "<|system|>" in own


# Small templates for what the official ones do not use.
SNIPPETS = [
    "{{ none }}|{{ missing }}|{{ true }}|{{ 1.0 }}|{{ 0.1 }}|{{ [1, none, 'a', 2.0] }}|{{ {'a': none} }}",
    "{{ messages[0] }}", "{{ messages[0].content ~ 1.0 }}", "{{ x }}|{{ x | tojson }}|{{ x | tojson(indent=2) }}",
    "{% for i in range(3) %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% endfor %}",
    "{% macro f(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f('y', b=none) }}",
    "{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}",
    "{{ 'a' if messages else 'b' }}{{ 'c' if not messages }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc", "{{ messages | length }}{{ messages[-1].role | upper }}",
    "{{- 'a' -}}  \n b {#- c -#} d",
    "{{ 'it' 's' }}{{ \"q\" + 'r' }}",
    "{% if messages[0].content is string and x is mapping and x.none is none %}y{% endif %}",
    "{{ messages[0].content.split('o') | join('0') }}", "{{ x | tojson(separators=(',', ':'), sort_keys=true) }}",
    "{{ 'é' | tojson(ensure_ascii=true) }}", "{% if 'z' is eq 'z' %}1{% endif %}", "{{ messages[0].get('nope') }}",
]


@pytest.mark.parametrize("source", SNIPPETS)
def test_small_templates_print_as_python_does(render_chat, tmp_path, source):
    path = tmp_path / "template.jinja"
    path.write_text(source, encoding="utf-8")
    request = {"messages": [{"role": "user", "content": "Hello 你好 'o'"}],
               "kwargs": {"x": {"none": None, "float": 1.0, "text": "it's\n\"é\"", "list": [1, 2.5, []], "big": 1e16,
                                "small": 0.00001}}}
    assert text_of(render_chat.answers(path, lines=[request])[0]) == python_render(source, request)


REFUSED = {
    "{{ raise_exception('only\nuser turns') }}": "only user turns",
    "{% for i in range(1000000) %}{% endfor %}": "too long",
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}": "runs too long",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "too deeply",
}


@pytest.mark.parametrize("source", REFUSED)
def test_a_template_that_refuses_or_runs_away_is_an_error_of_one_line(render_chat, tmp_path, source):
    path = tmp_path / "template.jinja"
    path.write_text(source, encoding="utf-8")
    answer = render_chat.answers(path, lines=[{"messages": CONVERSATIONS["hi"]}])[0]
    assert REFUSED[source] in answer["error"] and "\n" not in answer["error"]


def test_a_broken_template_fails_to_load_with_one_line(render_chat, tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text("{% if %}")
    result = render_chat.start(path)
    assert result.returncode == 3
    assert re.fullmatch(r"chat template: [^\n]+\n", result.stderr), result.stderr


@pytest.mark.parametrize("name", ["nano-flash", FLASH, "GLM-4.6.jinja"])
def test_a_continued_message_is_the_end_of_the_prompt(render_chat, name):
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one, two,"}]
    answer = render_chat.answers(template_path(name), lines=[{"messages": messages, "continue_final_message": True}])[0]
    assert text_of(answer).endswith("one, two,")
    assert answer["segments"][-1] == ["one, two,", False]
    whole = render_chat.answers(template_path(name), lines=[{"messages": messages, "add_generation_prompt": False}])[0]
    assert text_of(whole).startswith(text_of(answer))
