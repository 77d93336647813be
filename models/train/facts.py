"""Reads facts/*.txt; the format is explained in facts/basics.txt."""

import pathlib
import re
from dataclasses import dataclass, field

import words

FOLDER = pathlib.Path(__file__).resolve().parent / "facts"
FILES = ("basics", "flags", "api", "inside", "more", "more_api")


@dataclass
class Fact:
    """What gale's users may ask for, in English and Chinese."""

    name: str
    keys: list[str] = field(default_factory=list)
    topic: str = ""
    zh_topic: str = ""
    answer: str = ""
    zh_answer: str = ""
    phrases: list[str] = field(default_factory=list)
    zh_phrases: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    zh_held_out: list[str] = field(default_factory=list)


TEXTS = {"t": "topic", "u": "zh_topic", "a": "answer", "z": "zh_answer"}
LISTS = {"q": "phrases", "c": "zh_phrases", "h": "held_out", "d": "zh_held_out"}


def parse(lines, facts: dict[str, Fact]):
    """Adds the blocks of a file to the facts; a name that is there already gets more phrases."""
    fact = None
    for line in lines:
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            fact = facts.setdefault(heading[1], Fact(heading[1]))
            continue
        key, _, text = line.partition(": ")
        if key == "key":
            fact.keys = text.split("|")
        elif key in TEXTS:
            setattr(fact, TEXTS[key], text)
        else:
            getattr(fact, LISTS[key]).append(text)


def check(fact: Fact):
    """Phrases must parse, and the answers must hold the key."""
    for phrase in fact.phrases + fact.zh_phrases:
        words.parse_phrase(phrase)
    for answer in (fact.answer, fact.zh_answer):
        if not any(key.lower() in answer.lower() for key in fact.keys):
            raise ValueError(f"{fact.name}: none of {fact.keys} in {answer!r}")
    if not (fact.topic and fact.zh_topic and fact.phrases and fact.zh_phrases and fact.held_out):
        raise ValueError(f"{fact.name}: incomplete")


def load() -> list[Fact]:
    facts: dict[str, Fact] = {}
    for name in FILES:
        with open(FOLDER / f"{name}.txt", encoding="utf-8") as lines:
            parse(lines, facts)
    for fact in facts.values():
        check(fact)
    return list(facts.values())


FACTS = load()


def plain(question: str) -> str:
    return question.lower().strip(" ?.!？。")


def load_fresh() -> dict[str, Fact]:
    """The second held-out set: questions of facts/fresh.txt under the names of their facts."""
    fresh: dict[str, Fact] = {}
    with open(FOLDER / "fresh.txt", encoding="utf-8") as lines:
        parse(lines, fresh)
    return fresh


FRESH = load_fresh()
HELD_OUT = tuple(plain(question) for fact in FACTS + list(FRESH.values())
                 for question in fact.held_out + fact.zh_held_out)


def is_held_out(text: str) -> bool:
    """Whether the text holds one of the held-out questions, which must not be learnt."""
    text = text.lower()
    return any(question in text for question in HELD_OUT)
