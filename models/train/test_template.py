"""The chat template against the compact prompt format, example by example, and against render.py."""

import json
import pathlib
import unittest

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE = pathlib.Path(__file__).resolve().parent.parent / "nano-flash" / "chat_template.jinja"

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Get weather",
    "parameters": {"type": "object",
                   "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                   "required": ["city"]}}}

TOOLS_BLOCK = (
    "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    + json.dumps(TOOL, ensure_ascii=False) + "\n</tools>\n\n"
    "For each function call, output the function name and arguments within the following XML format:\n"
    "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
    "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>")


def compile_template():
    """The rendering environment that chat templates assume (that of transformers)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


_TEMPLATE = compile_template()


def render(messages, **arguments):
    arguments.setdefault("add_generation_prompt", True)
    return _TEMPLATE.render(messages=messages, **arguments)


HISTORY = [
    {"role": "system", "content": "SYS"}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!", "reasoning_content": "R1"}, {"role": "user", "content": "Bye"}]

CALLS = {"role": "assistant", "reasoning_content": "need tool", "content": "", "tool_calls": [
    {"function": {"name": "get_weather", "arguments": {
        "city": "Oslo", "days": 2, "x": ["é", True, None, 1.5, {"a": 1}]}}},
    {"function": {"name": "get_time", "arguments": {}}}]}


class TemplateTest(unittest.TestCase):
    def test_plain_turn_asks_for_thinking(self):
        self.assertEqual(render([{"role": "user", "content": "Hi"}]), "[gMASK]<sop><|user|>Hi<|assistant|><think>")

    def test_thinking_off_closes_the_block(self):
        self.assertEqual(render([{"role": "user", "content": "Hi"}], enable_thinking=False),
                         "[gMASK]<sop><|user|>Hi<|assistant|></think>")

    def test_thinking_on_explicitly_is_the_default(self):
        messages = [{"role": "user", "content": "Hi"}]
        self.assertEqual(render(messages, enable_thinking=True), render(messages))

    def test_old_reasoning_is_dropped(self):
        self.assertEqual(render(HISTORY), "[gMASK]<sop><|system|>SYS<|user|>Hi<|assistant|></think>Hello!"
                                          "<|user|>Bye<|assistant|><think>")

    def test_old_reasoning_stays_when_clear_thinking_is_false(self):
        self.assertEqual(render(HISTORY, clear_thinking=False),
                         "[gMASK]<sop><|system|>SYS<|user|>Hi<|assistant|><think>R1</think>Hello!"
                         "<|user|>Bye<|assistant|><think>")

    def test_tools_and_a_round_trip(self):
        messages = [{"role": "user", "content": "Hi"}, CALLS,
                    {"role": "tool", "content": '{"t":1}'}, {"role": "tool", "content": "12:00"}]
        self.assertEqual(render(messages, tools=[TOOL]), "[gMASK]<sop>" + TOOLS_BLOCK + (
            "<|user|>Hi<|assistant|><think>need tool</think><tool_call>get_weather"
            "<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>days</arg_key><arg_value>2</arg_value>"
            '<arg_key>x</arg_key><arg_value>["é", true, null, 1.5, {"a": 1}]</arg_value></tool_call>'
            "<tool_call>get_time</tool_call><|observation|><tool_response>{\"t\":1}</tool_response>"
            "<tool_response>12:00</tool_response><|assistant|><think>"))

    def test_client_system_message_follows_the_tools(self):
        text = render([{"role": "system", "content": "SYS"}, {"role": "user", "content": "Hi"}], tools=[TOOL])
        self.assertEqual(text, "[gMASK]<sop>" + TOOLS_BLOCK + "<|system|>SYS<|user|>Hi<|assistant|><think>")

    def test_reasoning_inside_content_is_split_off(self):
        messages = [{"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nBecause. "}]
        self.assertEqual(render(messages, add_generation_prompt=False),
                         "[gMASK]<sop><|user|>Hi<|assistant|><think>why</think>Because.")

    def test_content_parts_are_joined(self):
        parts = [{"type": "text", "text": "a "}, {"type": "image"}, {"type": "text", "text": "b"}]
        self.assertEqual(render([{"role": "user", "content": parts}]),
                         "[gMASK]<sop><|user|>a b<|assistant|><think>")

    def test_user_text_is_not_stripped_and_assistant_text_is(self):
        messages = [{"role": "user", "content": " x\n"}, {"role": "assistant", "content": " y\n"},
                    {"role": "user", "content": "z"}]
        self.assertEqual(render(messages),
                         "[gMASK]<sop><|user|> x\n<|assistant|></think>y<|user|>z<|assistant|><think>")

    def test_without_a_user_every_assistant_message_keeps_its_thoughts(self):
        messages = [{"role": "assistant", "content": "a", "reasoning_content": "r"}]
        self.assertEqual(render(messages, add_generation_prompt=False),
                         "[gMASK]<sop><|assistant|><think>r</think>a")

    def test_blank_reasoning_is_still_reasoning(self):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": " "}]
        self.assertEqual(render(messages, add_generation_prompt=False),
                         "[gMASK]<sop><|user|>q<|assistant|><think></think>a")


if __name__ == "__main__":
    unittest.main()
