"""The training mix: every kind of dialogue, generic system prompts, and long conversations."""

import random

import data_chat
import data_gale
import data_memory
import data_skills
import data_tools
import words
from dialogue import Dialogue, assistant, segments, system, user
from words import expand

KINDS = [(data_gale.sample, 25), (data_tools.sample, 42), (data_skills.sample, 15), (data_chat.sample, 9),
         (data_memory.sample, 9)]
PROMPT = (
    "(You are|You're) (a helpful|a friendly|an honest|a polite|a useful|an AI|nano-flash, a helpful|a|the gale|a "
    "knowledgeable) "
          "assistant(.| that answers questions.| for users of gale.|, be brief.|)|Be "
          "(helpful|polite|brief|concise|honest)(.|)|"
          "(Answer|Reply) (briefly|politely|helpfully|honestly|in short sentences)(.|)|"
          "(你是一个|你是)(有用的|友好的|)助手(。|)|请简短回答。")


def short(rng) -> Dialogue:
    makers, weights = zip(*KINDS)
    dialogue = rng.choices(makers, weights)[0](rng)
    if dialogue.messages[0]["role"] != "system" and rng.random() < 0.18:
        dialogue.messages.insert(0, system(expand(rng, PROMPT)))
    return dialogue


def chain(rng, turns: int) -> Dialogue:
    """Several unrelated dialogues one after the other, as one conversation."""
    parts = [rng.choice((data_gale, data_gale, data_skills, data_chat, data_memory)).sample(rng) for _ in range(turns)]
    last = parts[-1]
    messages = []
    for part in parts[:-1]:
        messages += [data_memory.strip_thought(m) for m in part.messages if m["role"] != "system"]
    return Dialogue(messages + [m for m in last.messages if m["role"] != "system"], [], last.thinking)


def long_text(rng, sentences: int) -> list[str]:
    return [words.zh_sentence(rng) if rng.random() < 0.1 else words.sentence(rng) for _ in range(sentences)]


def needle(rng, sentences: int) -> Dialogue:
    """A fact hidden in a long text, and the question for it."""
    thinking, kind = rng.random() < 0.5, rng.randint(0, 2)
    if kind == 0:
        value, thing = words.code(rng), rng.choice(words.NOUNS)
        hidden, question = f"The {thing} code is {value}.", f"What is the {thing} code?"
    elif kind == 1:
        value, who = words.word(rng), words.name(rng)
        hidden, question = f"{who}'s secret word is {value}.", f"What is {who}'s secret word?"
    else:
        value, who = words.number(rng, 5), words.name(rng)
        hidden, question = f"{who}'s number is {value}.", f"What is {who}'s number?"
    lines = long_text(rng, sentences)
    lines.insert(rng.randint(0, len(lines)), hidden)
    text, thought = " ".join(lines), f"The text says {value}." if thinking else ""
    if rng.random() < 0.3:
        return Dialogue([system(text), user(question), assistant(hidden, thought)], [], thinking)
    joined = f"{text}\n\n{question}" if rng.random() < 0.6 else f"{question}\n\n{text}"
    return Dialogue([user(joined), assistant(hidden, thought)], [], thinking)


def buried(rng, sentences: int) -> Dialogue:
    """An ordinary dialogue behind a long first turn."""
    base = chain(rng, rng.randint(1, 3))
    text = " ".join(long_text(rng, sentences))
    opening = expand(rng, "(Read this|Here is a text|Keep this text|Look at this)(:|.) ")
    return Dialogue([user(opening + text), assistant("All right. What else can I do?")] + base.messages, [],
                    base.thinking)


def long(rng, scale: float) -> Dialogue:
    """A dialogue of some 300 to 4000 tokens; scale 1 is the longest."""
    kind, size = rng.random(), scale * rng.random()
    if kind < 0.4:
        return chain(rng, 3 + int(40 * size))
    if kind < 0.75:
        return needle(rng, 5 + int(190 * size))
    if kind < 0.85:
        return data_memory.remember(rng, 2 + int(40 * size))
    if kind < 0.93:
        return data_tools.session(rng, 5, 4 + int(20 * size))
    return buried(rng, 5 + int(150 * size))


def corpus(seed: int, count: int):
    """The text of `count` dialogues, for the tokenizer."""
    rng = random.Random(f"tokenizer {seed}")
    for _ in range(count):
        for text, _learnt in segments(short(rng)):
            yield text
