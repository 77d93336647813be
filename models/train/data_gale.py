"""Questions and answers about gale, from the facts in facts/*.txt."""

import string

import words
from dialogue import Dialogue, assistant, user
from facts import FACTS, is_held_out
from words import expand

BEFORE = ["", "", "", "", "", "", "(Hi|Hello|Hey)(,|!|.) ", "Please tell me(:|,) ",
          "(A|One|Quick|Short|Another|I have a) question: ",
          "(In|About|Regarding|With|For) gale(:|,) ", "I (would like|want|need) to know: ", "(Can|Could) you tell me: ",
          "(Sorry|Excuse me|Ok|Okay|Well|So|Now|Also|And|Thanks), ", "I am (new to gale|using gale|a user of gale). ",
          "(Do you know|Any idea): ", "(I am|We are|He is) (trying|testing|installing|learning|setting up) gale(.|:) ",
          "(My (boss|friend|colleague|team|teacher)|A (user|customer|colleague)) (asks|wants to know|asked me|would "
          "like to know)(:|.) ",
          "(I read the docs|I have the server here|I am writing a client|I am curious|I am a beginner|Just one "
          "thing)(.|:) "]
AFTER = ["", "", "", "", "", " (Thanks|Thank you|Please)(.|!|)", " (Answer|Reply) (briefly|shortly|in one sentence).",
         " I (forgot|am not sure|cannot find it).", " (Please explain|Explain it to me|Help me).", " in gale"]
ZH_BEFORE = ["", "", "", "", "你好，", "请问，", "请问", "请告诉我，", "我想知道，", "问一下，", "关于gale：", "你知道吗，"]
ZH_AFTER = ["", "", "", "", "谢谢。", "请简单回答。", "请解释一下。", "我不太清楚。"]
BY_TOPIC = ("(I have a question about|Tell me about|Explain|What do you know about|My question is about|"
            "I want to know more about|About) {t}(.|)")
ZH_BY_TOPIC = "(请问|说说|讲讲|解释一下|我想了解|告诉我)({t})(。|)"
THOUGHTS = ["They ask about {}.", "The question is about {}.", "This is about {}. I know it."]
ZH_THOUGHTS = ["用户在问{}。", "问题是关于{}的。", "这是关于{}的问题，我知道。"]


def typo(rng, text: str) -> str:
    """One slip of the keyboard, outside flags, paths and numbers."""
    parts = text.split(" ")
    plain = [i for i, part in enumerate(parts) if part.isalpha() and len(part) > 3]
    if not plain:
        return text
    index = rng.choice(plain)
    part = list(parts[index])
    at = rng.randrange(1, len(part) - 1)
    kind = rng.randint(0, 2)
    if kind == 0:
        part[at], part[at + 1] = part[at + 1], part[at]
    elif kind == 1:
        del part[at]
    else:
        part[at] = rng.choice(string.ascii_lowercase)
    parts[index] = "".join(part)
    return " ".join(parts)


def drop_word(rng, text: str) -> str:
    parts = text.split(" ")
    small = [i for i, part in enumerate(parts) if part.lower() in
             ("the", "a", "an", "do", "does", "is", "of", "i", "can", "to", "me", "it")]
    if small:
        del parts[rng.choice(small)]
    return " ".join(parts)


SYNONYMS = {
    "how": ("in what way", "how exactly"), "which": ("what",), "what": ("which",), "command": ("program", "tool"),
    "flag": ("option", "switch", "setting"),
    "option": ("flag", "switch", "setting"), "server": ("gale server", "service", "machine"),
    "endpoint": ("route", "path", "URL"), "use": ("take", "have", "set"),
    "change": ("modify", "alter", "set"), "start": ("launch", "run", "begin"), "stop": ("end", "halt"),
    "explain": ("describe", "clarify"),
    "limit": ("bound", "restrict", "cap"), "happens": ("is going on", "occurs"), "see": ("view", "look at", "find"),
    "show": ("print", "display", "tell"),
    "does": ("would", "will"), "can": ("could", "may", "should"), "get": ("receive", "obtain"),
    "answer": ("reply", "response"),
    "request": ("query", "call"), "size": ("length",), "model": ("network", "checkpoint"),
    "default": ("standard", "usual"), "number": ("count",)}


def reworded(rng, text: str) -> str:
    """One word replaced by another of like meaning, if there is such a word."""
    parts = text.split(" ")
    known = [i for i, part in enumerate(parts) if part.lower() in SYNONYMS]
    if known:
        index = rng.choice(known)
        parts[index] = rng.choice(SYNONYMS[parts[index].lower()])
    return " ".join(parts)


def disturbed(rng, text: str) -> str:
    """One plain word replaced by any word: the rest must be enough to understand."""
    parts = text.split(" ")
    plain = [i for i, part in enumerate(parts) if part.isalpha() and part.islower()]
    if len(parts) > 5 and plain:
        parts[rng.choice(plain)] = words.word(rng)
    return " ".join(parts)


def english(rng, phrase: str) -> str:
    text = expand(rng, phrase)
    if rng.random() < 0.15:
        text = reworded(rng, text)
    if rng.random() < 0.05:
        text = disturbed(rng, text)
    if rng.random() < 0.06:
        text = typo(rng, text)
    if rng.random() < 0.06:
        text = drop_word(rng, text)
    before, after = expand(rng, rng.choice(BEFORE)), expand(rng, rng.choice(AFTER))
    if before.endswith(" ") and rng.random() < 0.7 or rng.random() < 0.3:
        text = text[:1].lower() + text[1:]
    elif text[:1].islower() and rng.random() < 0.8:
        text = text[:1].upper() + text[1:]
    if after == " in gale":
        text = text if "gale" in text.lower() else text.rstrip("?.") + after + text[len(text.rstrip("?.")):]
        after = ""
    text = before + text + after
    if rng.random() < 0.05:
        text = text.lower()
    if rng.random() < 0.1:
        text = text.rstrip("?.")
    return text


def chinese(rng, phrase: str) -> str:
    return rng.choice(ZH_BEFORE) + expand(rng, phrase) + rng.choice(ZH_AFTER)


def question(rng, fact, in_chinese: bool) -> str:
    """A reading of one of the fact's phrases; never one of the held-out questions."""
    phrases = fact.zh_phrases + [ZH_BY_TOPIC.replace("{t}", fact.zh_topic)] if in_chinese else (
        fact.phrases + [BY_TOPIC.replace("{t}", fact.topic)])
    while True:
        text = chinese(rng, rng.choice(phrases)) if in_chinese else english(rng, rng.choice(phrases))
        if not is_held_out(text):
            return text


def exchange(rng, thinking: bool, in_chinese: bool) -> list[dict]:
    fact = rng.choice(FACTS)
    if in_chinese:
        thought, answer = rng.choice(ZH_THOUGHTS).format(fact.zh_topic), fact.zh_answer
    else:
        thought, answer = rng.choice(THOUGHTS).format(fact.topic), fact.answer
    return [user(question(rng, fact, in_chinese)), assistant(answer, thought if thinking else "")]


def sample(rng) -> Dialogue:
    """One to four questions in a row."""
    thinking, in_chinese = rng.random() < 0.55, rng.random() < 0.3
    messages = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        messages += exchange(rng, thinking, in_chinese if rng.random() < 0.9 else not in_chinese)
    return Dialogue(messages, thinking=thinking)
