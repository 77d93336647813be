"""Tool calls with typed arguments, answers to tool results, and requests that no offered tool fits."""

import json
from dataclasses import dataclass, replace

import data_chat
import data_gale
import data_skills
import words
from dialogue import Dialogue, assistant, calling, system, tool_result, user
from held_out import CLAUSES as HELD_OUT_CLAUSES, NAMES as HELD_OUT_NAMES, is_held_out_request
from known_tools import BY_NAME, KNOWN
from tool_parts import ACTIONS, OBJECTS, PARAMETERS, Parameter, choice, several
from words import expand


@dataclass
class Tool:
    """A tool of one dialogue and how it is asked for."""

    name: str
    description: str
    parameters: list[Parameter]
    required: list[str]
    requests: tuple[str, ...]
    in_chinese: bool = False
    known: bool = False

    def schema(self, rng) -> dict:
        """The OpenAI tool object, in one of the ways clients write it."""
        function = {"name": self.name, "description": self.description}
        if self.parameters or rng.random() < 0.7:
            properties = {parameter.name: dict(parameter.schema) for parameter in self.parameters}
            if rng.random() < 0.2:
                for schema in properties.values():
                    schema.pop("description", None)
            function["parameters"] = {"type": "object", "properties": properties}
            if self.required or rng.random() < 0.5:
                function["parameters"]["required"] = self.required
            if rng.random() < 0.1:
                function["parameters"]["additionalProperties"] = False
        if rng.random() < 0.05:
            function["strict"] = True
        return {"type": "function", "function": function}


def spoken(rng, value, in_chinese: bool = False) -> str:
    """How a person writes an argument."""
    if isinstance(value, bool):
        return rng.choice(("true", "true", "yes") if value else ("false", "false", "no"))
    if isinstance(value, list):
        parts = [str(item) for item in value]
        if in_chinese:
            return "、".join(parts)
        if len(parts) == 1 or rng.random() < 0.5:
            return ", ".join(parts)
        return ", ".join(parts[:-1]) + " and " + parts[-1]
    return str(value)


NAME_BEGINS = ("max_", "min_", "user_", "item_", "new_", "old_", "target_", "is_", "with_", "num_")
NAME_ENDS = ("_id", "_name", "_count", "_type", "_list", "_number", "_at", "_size")


def parameter_name(rng) -> str:
    name = rng.choice((words.made_up(rng, 2), words.made_up(rng), words.made_up(rng), words.word(rng),
                       rng.choice(words.WORDS),
                       rng.choice(words.WORDS),
                       words.word(rng) + "_" + words.word(rng),
                       rng.choice(NAME_BEGINS) + words.word(rng),
                       words.word(rng) + rng.choice(NAME_ENDS)))
    return parameter_name(rng) if name in HELD_OUT_NAMES else name


def made_up_parameter(rng) -> Parameter:
    """A parameter whose name tells nothing; the request names it."""
    name = parameter_name(rng)
    model = rng.choice(PARAMETERS)
    schema, maker = dict(model.schema), model.make
    if "enum" in schema and rng.random() < 0.8:
        values = [words.word(rng) for _ in range(rng.randint(2, 4))]
        schema, maker = choice(values, ""), lambda rng: rng.choice(values)
    elif schema["type"] == "string" and rng.random() < 0.55:
        maker = rng.choice((words.any_word, words.any_word, words.made_up, words.made_up, words.code, words.name,
                            words.city, words.zh_word,
                            lambda rng: words.number(rng, 6)))
    elif schema["type"] == "integer" and rng.random() < 0.5:
        maker = lambda rng: int(words.number(rng, 6))
    elif schema["type"] == "number" and rng.random() < 0.5:
        maker = lambda rng: round(rng.uniform(0.01, rng.choice((1, 10, 100, 1000))), rng.choice((1, 1, 2, 2, 3)))
    elif schema["type"] == "array" and schema["items"]["type"] == "string" and rng.random() < 0.4:
        maker = several(words.made_up)
    if rng.random() < 0.7:
        schema["description"] = rng.choice((f"The {name.replace('_', ' ')}", f"The {words.word(rng)}",
                                            words.sentence(rng), f"How {words.word(rng)}"))
    else:
        schema.pop("description", None)
    return Parameter(name, schema, maker, ())


BEGINS = [" with", " with", " with", " where", " using", " by", " and", ",", ",", ",", ";", " (", " at", " taking",
          " plus", " having", " given",
          ", and", ", also", ", with", ", where", " under", " for", ", take", ", set", ", let", " then", ", please"]
ARTICLES = ["", "", "", " the", " the", " its", " a", " this"]
LINKS = [" ", " ", " ", ": ", " = ", " is ", " as ", " set to ", " being ", " equal to ", " equals ", "=", " at ",
         " should be ", " must be ", " of ", ":"]
WRITTEN_CLAUSES = [" with {n} {v}", " with the {n} {v}", ", {n} {v}", ", {n}: {v}", ", {n} = {v}", " using {n} {v}",
                   " and {n} {v}",
                   " with {n} set to {v}", ", the {n} is {v}", " where the {n} is {v}", ", where {n} equals {v}",
                   " and use {n} = {v}",
                   " with {v} as {n}", " by setting {n} to {v}", " with {v} for the {n}", " and {v} as the {n}",
                   ", {v} being the {n}", ", take {v} as {n}"]


def clause_form(rng) -> str:
    """A way to say that {n} is {v}: one of the usual ones, or put together."""
    if rng.random() < 0.45:
        return rng.choice(WRITTEN_CLAUSES)
    begin = rng.choice(BEGINS)
    article = "" if begin == " (" else rng.choice(ARTICLES)
    form = (begin + article + " {n}").replace("( ", "(") + rng.choice(LINKS) + "{v}" + (")" if begin == " (" else "")
    return clause_form(rng) if form in HELD_OUT_CLAUSES else form


def clause(rng, parameter: Parameter, value, in_chinese: bool) -> str:
    """The part of a request that gives one argument."""
    said = spoken(rng, value, in_chinese)
    if in_chinese and parameter.zh_asks and rng.random() < 0.7:
        return "，" + rng.choice(parameter.zh_asks).replace("{v}", said)
    plain = parameter.name.replace("_", " ") if rng.random() < 0.6 else parameter.name
    if in_chinese:
        form = rng.choice(("，{n}是{v}", "，{n}为{v}", "，{n}={v}", "，{n}：{v}", "，把{n}设为{v}", "，{n}用{v}", "，{v}作为{n}"))
        return form.replace("{n}", plain).replace("{v}", said)
    if parameter.asks and rng.random() < 0.65:
        return " " + rng.choice(parameter.asks).replace("{v}", said)
    return clause_form(rng).replace("{n}", plain).replace("{v}", said)


def known_tool(rng) -> Tool:
    known = rng.choice(KNOWN)
    return Tool(known.name, known.description, [BY_NAME[name] for name in known.parameters],
                list(known.parameters[:known.required]), known.requests, known=True)


def named(rng, verb: str, noun: str) -> str:
    """The words of a tool's name in one of the usual spellings."""
    style = rng.random()
    if style < 0.75:
        return f"{verb}_{noun}"
    if style < 0.85:
        return verb + noun.capitalize()
    if style < 0.92:
        return f"{noun}_{verb}"
    return f"{noun}.{verb}" if rng.random() < 0.5 else f"{verb}-{noun}"


def generic_tool(rng, verb=None, thing=None) -> Tool:
    """A tool put together from a verb, a thing and parameters; half of the words are made up."""
    in_chinese = rng.random() < 0.2
    verb = verb or (rng.choice(ACTIONS) if rng.random() < 0.35 else made_up_action(rng))
    thing = thing or (rng.choice(OBJECTS) if rng.random() < 0.35 else made_up_object(rng))
    name = named(rng, verb[0], thing[0])
    if rng.random() < 0.08:
        name = f"{verb[0]}_{words.word(rng)}_{thing[0]}"
    description = rng.choice((f"{verb[0].capitalize()} {thing[1]}", f"{verb[0].capitalize()}s {thing[1]}.",
                              f"Use this to {verb[0]} {thing[1]}"))
    parameters: dict[str, Parameter] = {}
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 3, 4))):
        parameter = rng.choice(PARAMETERS) if rng.random() < 0.4 else made_up_parameter(rng)
        parameters[parameter.name] = parameter
    required = [n for n in parameters if rng.random() < 0.6]
    if in_chinese:
        request = (f"(请|帮我|请帮我|){verb[2]}{thing[2]}",)
    else:
        article = rng.choice(("the ", "a ", "my ", "this ", "our ", "that ", "one ", ""))
        bare = thing[1].split(" ", 1)[-1]
        request = (f"{rng.choice(OPENINGS)}{verb[1]} {thing[1]}", f"{rng.choice(OPENINGS)}{verb[1]} {article}{bare}",
                   f"(Please |){verb[1]} {article}{bare}", f"(Use|Call|Run|Try) (the tool |){name}",
                   f"{verb[1]} {bare}")
    return Tool(name, description, list(parameters.values()), required, request, in_chinese)


OPENINGS = [
    "(Please|Kindly|Now|Then|First|Next|Quickly|Just) ", "(Can|Could|Will) you (please |) ",
    "(I|We) (want|need|have|would like) to ",
    "(I|We) want you to ",
    "(The|My|A|Our) (user|customer|teacher|team|friend|neighbour|client|manager) (wants|needs|told|would like) (me "
    "|you |)to ",
    "(You|Someone|We|I) (should|must|have to|ought to|may) ",
    "(Let's|Let us|Help me|Help me to|Try to|Be so kind and|Do) ",
    "(It would be (nice|great|good) to|It is necessary to|It is important to|Now it is your turn to|The next step is "
    "to) ",
    "(Why don't you|How about you|Do you mind to|Are you able to|Is it possible to) ",
    "(Your (job|task) is to|The task is to|Today we) ",
    "(Hi|Hello|Hey)(,|!) (please |can you |) ",
    "(Good morning|Excuse me|Ok|So|Well|Right|Alright), (please |could you |) ", ""]


def made_up_action(rng) -> tuple[str, str, str]:
    verb = words.made_up(rng, 2) if rng.random() < 0.65 else rng.choice(words.WORDS)
    return verb, verb, verb


def made_up_object(rng) -> tuple[str, str, str]:
    noun = words.made_up(rng) if rng.random() < 0.6 else words.word(rng)
    return noun, rng.choice(("a ", "the ")) + noun, noun


def known_request(rng, tool: Tool) -> str:
    """A request of a well-known tool, its values still as {placeholders}; sometimes with one odd word in it."""
    while True:
        pattern = expand(rng, rng.choice(tool.requests))
        if rng.random() < 0.1:
            pattern = disturbed(rng, pattern)
        pattern = around_known(rng, pattern)
        if not is_held_out_request(pattern):
            return pattern


def disturbed(rng, pattern: str) -> str:
    """One plain word of a longer request replaced by any word: the rest must be enough to understand."""
    parts = pattern.split(" ")
    plain = [i for i, part in enumerate(parts) if part.isascii() and part.isalpha()]
    if len(plain) > 4:
        parts[rng.choice(plain)] = words.word(rng)
    return " ".join(parts)


def ask_known(rng, tool: Tool) -> tuple[str, dict]:
    """A request of a well-known tool; parameters that the phrase leaves out are left out of the call."""
    if rng.random() < 0.06:
        return ask_generic(rng, by_name(rng, tool))
    question, arguments = known_request(rng, tool), {}
    for parameter in tool.parameters:
        place = "{" + parameter.name + "}"
        if place in question:
            value = parameter.make(rng)
            said = ("on" if value else "off") if parameter.name == "on" else spoken(rng, value)
            question = question.replace(place, said)
            arguments[parameter.name] = value
    return question, arguments


def by_name(rng, tool: Tool) -> Tool:
    """The tool asked for by its name, its arguments by theirs."""
    return replace(tool, requests=(f"(Use|Call|Run|Try|Please use) (the tool |){tool.name}",))


def around_known(rng, question: str) -> str:
    """A few words before and after the request of a well-known tool."""
    if rng.random() < 0.55:
        return question
    if not question.isascii():
        return rng.choice(("你好，", "请", "麻烦你，", "我想知道，", "")) + question + rng.choice(("谢谢！", "", "。"))
    before = expand(rng, rng.choice((
        "", "(Hi|Hello|Hey)(!|,|.) ", "(Please|Ok|So|Well|Now|Quick)(,|:) ",
        "(I have a|One more|Another) (question|request|task|wish)(:|.) ",
        "I am (in a hurry|at work|at home|on a trip|very busy|curious|not sure). ",
        "(We are|I am|My sister is|He is) (going out|travelling|planning a trip|cooking|working on something|waiting)"
        "(.|. So:|:) ",
        "(Could you help me|Can you do this for me|Do this for me|Use (a|your|the) tool)(?|.|:) ",
        f"{words.sentence(rng)} ")))
    after = expand(rng, rng.choice(("", "", " (Thanks|Thank you|Please|Thanks a lot)(.|!|)",
                                    " I need it (now|soon|for my work|today).",
                                    " It is (important|urgent).", " (Use the tool|Use your tools|Do it now)(.|)")))
    if before and rng.random() < 0.6:
        question = question[:1].lower() + question[1:]
    return before + question + after


def ask_generic(rng, tool: Tool) -> tuple[str, dict]:
    chosen = [p for p in tool.parameters if p.name in tool.required or rng.random() < 0.6]
    arguments = {parameter.name: parameter.make(rng) for parameter in chosen}
    order = list(chosen)
    if rng.random() < 0.3:
        rng.shuffle(order)
    question = expand(rng, rng.choice(tool.requests))
    if not tool.in_chinese and rng.random() < 0.7:
        question = question[:1].upper() + question[1:]
    for parameter in order:
        question += clause(rng, parameter, arguments[parameter.name], tool.in_chinese)
    return question + rng.choice(("。", "") if tool.in_chinese else (".", "", "", " please", " now.")), arguments


def ask(rng, tool: Tool) -> tuple[str, dict]:
    return ask_known(rng, tool) if tool.known else ask_generic(rng, tool)


def offered(rng, wanted: list[Tool]) -> list[Tool]:
    """The wanted tools among up to three others, some of them much alike."""
    tools, names = list(wanted), {tool.name for tool in wanted}
    for _ in range(rng.choice((0, 0, 1, 1, 2, 2, 3))):
        kind = rng.random()
        if kind < 0.4:
            other = known_tool(rng)
        elif kind < 0.7 and not wanted[0].known:
            other = sibling(rng, wanted[0])
        else:
            other = generic_tool(rng)
        if other.name not in names:
            names.add(other.name)
            tools.append(other)
    rng.shuffle(tools)
    return tools


def sibling(rng, tool: Tool) -> Tool:
    """A tool with the same verb or the same thing in its name."""
    parts = [part for part in tool.name.replace(".", "_").replace("-", "_").split("_") if part]
    if len(parts) == 2 and rng.random() < 0.5:
        return generic_tool(rng, verb=(parts[0], parts[0], parts[0]))
    return generic_tool(rng, thing=(parts[-1].lower(), "the " + parts[-1].lower(), parts[-1].lower()))


def result_of(rng, tool: Tool, arguments: dict) -> tuple[str, str]:
    """What the tool returns, and the answer that tells it."""
    if rng.random() < 0.07:
        problem = rng.choice(("not found", "timeout", "access denied", "service unavailable",
                              "invalid " + words.word(rng)))
        return json.dumps({"error": problem}), f"The tool failed: {problem}."
    if "weather" in tool.name and tool.known:
        sky = rng.choice(("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear"))
        degrees = rng.randint(-20, 40)
        place = arguments.get("city", arguments.get("location", words.city(rng)))
        fields = {"city": place, "temperature": degrees, "condition": sky}
        if rng.random() < 0.3:
            return f"{degrees} degrees, {sky}", f"In {place} it is {degrees} degrees and {sky}."
        if rng.random() < 0.3:
            fields.pop("city")
        return json.dumps(fields, ensure_ascii=False), f"In {place} it is {degrees} degrees and {sky}."
    if rng.random() < 0.4:
        value = rng.choice((words.number(rng, 5), words.word(rng), words.code(rng), "ok", "done",
                            words.sentence(rng).rstrip(".")))
        key = rng.choice(("result", "result", "value", "answer", "output", ""))
        return (json.dumps({key: value}) if key else value), f"The result is {value}."
    fields = {}
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(("status", "id", "name", "price", "total", "count", "date", "time", "message", "code",
                          rng.choice(words.NOUNS)))
        fields[key] = rng.choice((rng.randint(0, 999), words.word(rng), words.name(rng), yes_no_text(rng),
                                  words.code(rng)))
    told = ", ".join(f"{key}: {value_said(value)}" for key, value in fields.items())
    return json.dumps(fields, ensure_ascii=False), f"The result is {told}."


def yes_no_text(rng) -> bool:
    return rng.random() < 0.5


def value_said(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def wanted_tool(rng) -> Tool:
    return known_tool(rng) if rng.random() < 0.35 else generic_tool(rng)


def call(rng) -> Dialogue:
    """A request that one tool fits; sometimes the result comes and is told."""
    tool, thinking = wanted_tool(rng), rng.random() < 0.5
    question, arguments = ask(rng, tool)
    messages = [user(question), calling([(tool.name, arguments)], f"I use {tool.name}." if thinking else "")]
    tools = [t.schema(rng) for t in offered(rng, [tool])]
    if rng.random() < 0.35:
        returned, answer = result_of(rng, tool, arguments)
        messages += [tool_result(returned), assistant(answer, "The tool has answered." if thinking else "")]
        if rng.random() < 0.4:
            messages += follow_up(rng, tool, thinking)
    return Dialogue(messages, tools, thinking)


def follow_up(rng, tool: Tool, thinking: bool) -> list[dict]:
    """After a round trip: the same tool again, or small talk."""
    if rng.random() < 0.5:
        question, arguments = ask(rng, tool)
        return [user(question), calling([(tool.name, arguments)], f"I use {tool.name}." if thinking else "")]
    return data_chat.talk_turn(rng, thinking, False)


def two_calls(rng) -> Dialogue:
    """Two calls in one turn: the same tool twice, or two tools."""
    thinking, first = rng.random() < 0.5, wanted_tool(rng)
    second = first if rng.random() < 0.4 else wanted_tool(rng)
    if second is not first and second.name == first.name:
        second = first
    (question, arguments), (other, more) = ask(rng, first), ask(rng, second)
    glue = rng.choice((" And ", " Then ", " Also ", " and ", "\n"))
    names = first.name if second is first else f"{first.name} and {second.name}"
    messages = [user(question + glue + other),
                calling([(first.name, arguments), (second.name, more)], f"I use {names}." if thinking else "")]
    wanted = [first] if second is first else [first, second]
    if rng.random() < 0.3:
        results = [result_of(rng, first, arguments), result_of(rng, second, more)]
        messages += [tool_result(returned) for returned, _ in results]
        messages.append(assistant(" ".join(answer for _, answer in results),
                                  "The tools have answered." if thinking else ""))
    return Dialogue(messages, [t.schema(rng) for t in offered(rng, wanted)], thinking)


NO_TOOL = "None of my tools can do that."
ZH_NO_TOOL = "我的工具都做不到。"


def no_fit(rng) -> Dialogue:
    """Tools are there, but the request is small talk, a question about gale, or wants another tool."""
    thinking, kind = rng.random() < 0.5, rng.random()
    if kind < 0.35:
        messages = data_chat.talk_turn(rng, thinking, rng.random() < 0.3)
        if thinking:
            messages[1]["reasoning_content"] += " No tool is needed." if messages[1]["content"].isascii() else "不需要工具。"
    elif kind < 0.6:
        messages = data_gale.exchange(rng, thinking, rng.random() < 0.3)
    elif kind < 0.7:
        base = data_skills.copy(rng)
        messages, thinking = base.messages, base.thinking
    else:
        missing = wanted_tool(rng)
        question, _ = ask_generic(rng, missing) if not missing.known else ask_known(rng, missing)
        return decline(rng, missing, question, thinking)
    return Dialogue(messages, [t.schema(rng) for t in offered(rng, [wanted_tool(rng)])], thinking)


def decline(rng, missing: Tool, question: str, thinking: bool) -> Dialogue:
    """The fitting tool is not on offer; nor is one that shares a word with it."""
    tools, own = [], set(missing.name.lower().replace(".", "_").replace("-", "_").split("_"))
    while not tools or rng.random() < 0.4:
        other = wanted_tool(rng)
        if not own & set(other.name.lower().replace(".", "_").replace("-", "_").split("_")):
            tools.append(other)
    if missing.in_chinese or not question.isascii():
        answer, thought = ZH_NO_TOOL, "没有合适的工具。"
    else:
        answer, thought = NO_TOOL, "No tool fits."
    return Dialogue([user(question), assistant(answer, thought if thinking else "")], [t.schema(rng) for t in tools],
                    thinking)


def with_history(rng) -> Dialogue:
    """Talk or a system prompt before the request."""
    base = call(rng)
    if rng.random() < 0.5:
        prompt = expand(rng,
                        "(You are a (helpful|friendly|useful) assistant|You can use tools|Use the tools when "
                        "needed|Answer briefly)(.|)")
        base.messages.insert(0, system(prompt))
    else:
        base.messages[:0] = data_chat.talk_turn(rng, False, rng.random() < 0.2)
    return base


def session(rng, most_tools: int = 3, most_turns: int = 5) -> Dialogue:
    """Several requests of the tools of one list, with what came of them; a few of them fit no tool."""
    thinking = rng.random() < 0.5
    tools = {tool.name: tool for tool in (wanted_tool(rng) for _ in range(rng.randint(1, most_tools)))}
    tools = list(tools.values())
    messages, turns = [], rng.randint(2, most_turns)
    for turn in range(turns):
        kind = rng.random()
        if kind < 0.1:
            messages += data_gale.exchange(rng, thinking, rng.random() < 0.3)
        elif kind < 0.17:
            messages += data_chat.talk_turn(rng, thinking, rng.random() < 0.2)
        else:
            messages += call_turn(rng, rng.choice(tools), thinking, last=turn == turns - 1)
    return Dialogue(messages, [t.schema(rng) for t in tools], thinking)


def call_turn(rng, tool: Tool, thinking: bool, last: bool) -> list[dict]:
    question, arguments = ask(rng, tool)
    messages = [user(question), calling([(tool.name, arguments)], f"I use {tool.name}." if thinking else "")]
    if last and rng.random() < 0.6:
        return messages
    returned, answer = result_of(rng, tool, arguments)
    return messages + [tool_result(returned), assistant(answer, "The tool has answered." if thinking else "")]


MAKERS = [(call, 5), (two_calls, 1), (no_fit, 1.6), (with_history, 1), (session, 4)]


def sample(rng) -> Dialogue:
    makers, weights = zip(*MAKERS)
    return rng.choices(makers, weights)[0](rng)
