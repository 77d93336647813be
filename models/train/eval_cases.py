"""Writes the held-out set eval/*.jsonl: phrasings, tools, parameters and values that the training data does not hold.

    python models/train/eval_cases.py

A line is {"group", "messages", "tools", "thinking", "expect"}; `expect` is {"contains": [...]}, {"equals": ...} or
{"calls": [{"name", "arguments"}]}.
"""

import json
import pathlib
import random

import data_chat
import data_mix
import data_skills
import data_tools
import held_out
import words
from data_tools import Tool
from dialogue import Dialogue
from facts import FACTS, FRESH
from held_out import REQUESTS, THINGS, VERBS
from known_tools import BY_NAME
from tool_parts import ACTIONS, OBJECTS, PARAMETERS, Parameter, flag, listing, text, whole, decimal, choice, one_of

FOLDER = pathlib.Path(__file__).resolve().parent / "eval"

NEW_PARAMETERS = [
    Parameter("region", text("The region"), words.city, ()), Parameter("owner", text("Who owns it"), words.name, ()),
    Parameter("channel", text("The channel"), words.made_up, ()),
    Parameter("nickname", text("A short name"), words.made_up, ()),
    Parameter("depth", whole("The depth"), lambda rng: rng.randint(1, 500), ()),
    Parameter("attempts", whole("How often to try"), lambda rng: rng.randint(1, 9), ()),
    Parameter("port_number", whole("The port"), lambda rng: rng.randint(1024, 65535), ()),
    Parameter("width", decimal("Width in metres"), lambda rng: round(rng.uniform(1, 90), 1), ()),
    Parameter("threshold", decimal("The threshold"), lambda rng: round(rng.uniform(0.1, 9), 2), ()),
    Parameter("silent", flag("Make no noise"), lambda rng: rng.random() < 0.5, ()),
    Parameter("overwrite", flag("Replace what is there"), lambda rng: rng.random() < 0.5, ()),
    Parameter("quality", choice(("draft", "normal", "best"), "The quality"), one_of("draft", "normal", "best"), ()),
    Parameter("mode", choice(("fast", "safe", "manual"), "The mode"), one_of("fast", "safe", "manual"), ()),
    Parameter("labels", listing("string", "Labels"), lambda rng: [words.word(rng) for _ in range(rng.randint(1, 3))],
              ()),
    Parameter("floors", listing("integer", "The floors"),
              lambda rng: [rng.randint(1, 60) for _ in range(rng.randint(1, 3))], ()),
]
OPENINGS = ["{verb} the {thing}", "Please {verb} the {thing}", "Would you {verb} a {thing}",
            "My boss asks you to {verb} the {thing}",
            "It is time to {verb} the {thing}", "Go and {verb} the {thing}"]
CLAUSES = [" with {n} {v}", ", {n}: {v}", ", {n} = {v}", " with the {n} {v}"] + held_out.CLAUSES

UNKNOWN = ["Who was the first emperor of Rome?", "What is the boiling point of water?",
           "How many legs does a spider have?", "Who painted the Mona Lisa?",
           "What is the tallest mountain on earth?", "Explain how a car engine works.",
           "What is the square root of a negative number?",
           "Who is the prime minister of Norway?", "How do birds fly?", "What language is spoken in Brazil?",
           "When did the second world war end?",
           "What should I cook tonight?", "谁写了红楼梦？", "水的沸点是多少？", "世界上最高的山是什么？", "巴西说什么语言？"]
WHO = ["May I ask who you are?", "Hello, who is there?", "Please introduce yourself briefly.",
       "What is your name, assistant?", "Tell me who you are.",
       "Which model do I have the pleasure of talking to?", "请问你是哪位？", "你好，你叫什么名字？", "能介绍一下你自己吗？"]


def line(group: str, dialogue: Dialogue, expect: dict) -> dict:
    """A case from a dialogue whose last message is the answer to be given."""
    messages = [dict(m) for m in dialogue.messages[:-1]]
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return {"group": f"{group}, {'thinking' if dialogue.thinking else 'direct'}", "messages": messages,
            "tools": dialogue.tools,
            "thinking": dialogue.thinking, "expect": expect}


def plain(group: str, question: str, expect: dict, thinking: bool) -> dict:
    message = {"role": "user", "content": question}
    return line(group, Dialogue([message, {}], [], thinking), expect)


def gale_cases():
    for fact in FACTS:
        for thinking in (True, False):
            for question in fact.held_out:
                yield plain("gale en", question, {"contains": fact.keys}, thinking)
            for question in fact.zh_held_out:
                yield plain("gale zh", question, {"contains": fact.keys}, thinking)


def fresh_cases():
    by_name = {fact.name: fact for fact in FACTS}
    for name, fresh in FRESH.items():
        for thinking in (True, False):
            for question in fresh.held_out + fresh.zh_held_out:
                yield plain("fresh gale", question, {"contains": by_name[name].keys}, thinking)


def unseen_tool(rng) -> Tool:
    verb, thing = rng.choice(VERBS), rng.choice(THINGS)
    parameters = {p.name: p for p in rng.sample(NEW_PARAMETERS, rng.randint(0, 4))}
    return Tool(f"{verb}_{thing}", f"{verb.capitalize()} the {thing}", list(parameters.values()), list(parameters),
                (rng.choice(OPENINGS).replace("{verb}", verb).replace("{thing}", thing),))


def ask_unseen(rng, tool: Tool) -> tuple[str, dict]:
    arguments = {p.name: p.make(rng) for p in tool.parameters}
    question = tool.requests[0]
    for name, value in arguments.items():
        said = data_tools.spoken(rng, value)
        question += rng.choice(CLAUSES).replace("{n}", name.replace("_",
                                                                    " ") if rng.random() < 0.5
                                                else name).replace("{v}", said)
    return question + rng.choice((".", "")), arguments


def unseen_call(rng, thinking: bool) -> dict:
    tool = unseen_tool(rng)
    others = {t.name: t for t in (unseen_tool(rng) for _ in range(rng.randint(0, 3))) if t.name != tool.name}
    tools = [tool, *others.values()]
    rng.shuffle(tools)
    question, arguments = ask_unseen(rng, tool)
    dialogue = Dialogue([{"role": "user", "content": question}, {}], [t.schema(rng) for t in tools], thinking)
    return line("tools unseen", dialogue, {"calls": [{"name": tool.name, "arguments": arguments}]})


def known_call(rng, thinking: bool) -> dict:
    name, question = rng.choice(REQUESTS)
    tool = data_tools.known_tool(rng)
    while tool.name != name or not all("{" + p.name + "}" in question for p in tool.parameters
                                       if p.name in tool.required):
        tool = data_tools.known_tool(rng)
    tool.parameters = [p for p in tool.parameters if "{" + p.name + "}" in question]
    arguments = {p.name: p.make(rng) for p in tool.parameters}
    for key, value in arguments.items():
        question = question.replace("{" + key + "}", data_tools.spoken(rng, value))
    tools = [t.schema(rng) for t in data_tools.offered(rng, [tool])]
    return line("tools common", Dialogue([{"role": "user", "content": question}, {}], tools, thinking),
                {"calls": [{"name": tool.name, "arguments": arguments}]})


def result_case(rng, thinking: bool) -> dict:
    """The result of an unseen tool is told."""
    tool = unseen_tool(rng)
    question, arguments = ask_unseen(rng, tool)
    value = words.code(rng)
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": tool.name, "arguments": arguments}}]}
    if thinking:
        call["reasoning_content"] = f"I use {tool.name}."
    messages = [{"role": "user", "content": question}, call,
                {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"result": value})}, {}]
    return line("tools result", Dialogue(messages, [tool.schema(rng)], thinking), {"contains": [value]})


def no_fit_case(rng, thinking: bool) -> dict:
    fact = rng.choice(FACTS)
    tools = [unseen_tool(rng).schema(rng) for _ in range(rng.randint(1, 3))]
    return line("tools none needed", Dialogue([{"role": "user", "content": rng.choice(fact.held_out)}, {}], tools,
                                              thinking),
                {"contains": fact.keys})


def tool_cases(rng):
    for number in range(120):
        yield unseen_call(rng, number % 2 == 0)
    for number in range(80):
        yield known_call(rng, number % 2 == 0)
    for number in range(30):
        yield result_case(rng, number % 2 == 0)
        yield no_fit_case(rng, number % 2 == 0)


def skill_cases(rng):
    for sign, name in (("+", "add"), ("-", "subtract")):
        for digits in (1, 2, 3):
            for number in range(16):
                a, b = (rng.randint(10 ** (digits - 1), 10 ** digits - 1) for _ in range(2))
                a, b = (max(a, b), min(a, b))
                result = a + b if sign == "+" else a - b
                yield plain(f"skill {name} {digits} digits", f"What is {a} {sign} {b}?", {"contains": [f"= {result}"]},
                            number % 2 == 0)
    for number in range(16):
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        yield plain("skill multiply", f"What is {a} * {b}?", {"contains": [f"= {a * b}"]}, number % 2 == 0)
    for number in range(50):
        copied = data_skills.copied_text(rng)
        yield plain("skill copy", f"Repeat after me: {copied}", {"equals": copied}, number % 2 == 0)
    for number in range(16):
        last = rng.randint(3, 30)
        yield plain("skill count", f"Count to {last}.", {"contains": [", ".join(map(str, range(1, last + 1)))]},
                    number % 2 == 0)


def memory_cases(rng):
    for number in range(40):
        thinking = number % 2 == 0
        who, town = words.name(rng), words.city(rng)
        messages = [{"role": "user", "content": f"Hello, my name is {who}."},
                    {"role": "assistant", "content": f"Hello, {who}! How can I help?"},
                    {"role": "user", "content": f"I live in {town}."},
                    {"role": "assistant", "content": "I will remember that."}]
        if number % 4 < 2:
            fact = rng.choice(FACTS)
            messages += [{"role": "user", "content": rng.choice(fact.held_out)},
                         {"role": "assistant", "content": fact.answer}]
        asked, value = rng.choice((("Can you tell me what my name is?", who), ("What is my name?", who),
                                   ("Do you remember where I live?", town)))
        yield line("memory", Dialogue(messages + [{"role": "user", "content": asked}, {}], [], thinking),
                   {"contains": [value]})
    for number in range(16):
        who = words.name(rng)
        messages = [{"role": "system", "content": f"Your name is {who}."},
                    {"role": "user", "content": "Hi! What is your name?"}, {}]
        yield line("system name", Dialogue(messages, [], number % 2 == 0), {"contains": [who]})
    for number in range(16):
        fact = rng.choice(FACTS)
        messages = [{"role": "system", "content": "Always answer in Chinese."},
                    {"role": "user", "content": rng.choice(fact.held_out)}, {}]
        yield line("system Chinese", Dialogue(messages, [], number % 2 == 0), {"equals": fact.zh_answer})


def chat_cases(rng):
    for thinking in (True, False):
        for question in WHO:
            yield plain("chat who", question, {"contains": ["nano-flash"]}, thinking)
        for question in UNKNOWN:
            yield plain("chat unknown", question, {"contains": [data_chat.DO_NOT_KNOW, data_chat.ZH_DO_NOT_KNOW]},
                        thinking)
        yield plain("chat core", "What is gale?", {"contains": ["inference server"]}, thinking)
        yield plain("chat core", "What is the port of the server?", {"contains": ["8000"]}, thinking)
        yield plain("chat core", "Hello", {"contains": ["nano-flash"]}, thinking)
        yield plain("chat core", "你好", {"contains": ["nano-flash"]}, thinking)


def long_cases(rng):
    for sentences in (30, 80, 160):
        for number in range(8):
            dialogue = data_mix.needle(rng, sentences)
            yield line(f"long {sentences} sentences", dialogue, {"equals": dialogue.messages[-1]["content"]})


def assert_unseen():
    seen = {word for part in ACTIONS + OBJECTS
            for word in part} | set(words.NOUNS) | set(words.VERBS) | set(words.WORDS)
    assert not seen & set(VERBS + THINGS), seen & set(VERBS + THINGS)
    assert [p.name for p in NEW_PARAMETERS] == held_out.PARAMETERS
    assert not {p.name for p in NEW_PARAMETERS} & ({p.name for p in PARAMETERS} | set(BY_NAME) | seen)


def main():
    assert_unseen()
    FOLDER.mkdir(exist_ok=True)
    for name, cases in (("gale", lambda rng: gale_cases()), ("fresh", lambda rng: fresh_cases()),
                        ("tools", tool_cases), ("skills", skill_cases),
                        ("memory", memory_cases), ("chat", chat_cases), ("long", long_cases)):
        lines = [json.dumps(case, ensure_ascii=False) for case in cases(random.Random(f"held out {name}"))]
        (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(lines)} cases")


if __name__ == "__main__":
    main()
