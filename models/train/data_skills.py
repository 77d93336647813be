"""Copying, counting and small arithmetic, in English and Chinese."""

import words
from dialogue import Dialogue, assistant, user
from words import expand


def turn(rng, question: str, thought: str, answer: str) -> Dialogue:
    """One question and its answer; half of them are thought about."""
    thinking = rng.random() < 0.5
    return Dialogue([user(question), assistant(answer, thought if thinking else "")], thinking=thinking)


def copied_text(rng) -> str:
    kind = rng.random()
    if kind < 0.4:
        return " ".join(words.any_word(rng) for _ in range(rng.randint(1, 8)))
    if kind < 0.55:
        return words.sentence(rng)
    if kind < 0.7:
        return words.number(rng, 8)
    if kind < 0.8:
        return words.code(rng)
    if kind < 0.9:
        return words.zh_sentence(rng)
    return ", ".join(words.any_word(rng) for _ in range(rng.randint(2, 6)))


COPY = ["(Repeat|Say|Echo|Write|Copy|Print|Please repeat|Please say)( after me| exactly| this| back|):( |\n)",
        "(Repeat|Copy|Say) (the following|this)( text| exactly| word for word|):( |\n)",
        "(请|)(重复|复述|照抄|跟我说|抄写)(一遍|下面的话|这句话|以下内容|)(：|:)( |)"]
COPY_THOUGHTS = ["I repeat the text.", "The text is to be copied as it is."]


def copy(rng) -> Dialogue:
    text, request = copied_text(rng), expand(rng, rng.choice(COPY))
    if rng.random() < 0.3:
        quote = rng.choice(('"{}"', "'{}'", "“{}”"))
        return turn(rng, request + quote.format(text), rng.choice(COPY_THOUGHTS), text)
    return turn(rng, request + text, rng.choice(COPY_THOUGHTS), text)


def spell(rng) -> Dialogue:
    text = words.word(rng)
    kind = rng.randint(0, 3)
    if kind == 0:
        question = expand(rng, f"(Spell|Please spell)( the word|) (\"{text}\"|{text})(.|)")
        return turn(rng, question, "Letter by letter.", "-".join(text))
    if kind == 1:
        question = expand(rng, f"(Write|Put|Say) (\"{text}\"|{text}) in (capital letters|capitals|upper case)(.|)")
        return turn(rng, question, "In capitals.", text.upper())
    if kind == 2:
        question = expand(rng, f"What is the first letter of (\"{text}\"|{text})?")
        return turn(rng, question, f"{text} begins with {text[0]}.", text[0])
    question = expand(rng, f"What is the last letter of (\"{text}\"|{text})?")
    return turn(rng, question, f"{text} ends with {text[-1]}.", text[-1])


def lists(rng) -> Dialogue:
    """First, last, n-th, reversed or counted members of a short list."""
    items = [words.any_word(rng) for _ in range(rng.randint(2, 6))]
    listed, kind = ", ".join(items), rng.randint(0, 4)
    if kind == 0:
        return turn(rng, expand(rng, f"(What is|Tell me|Give me) the first (word|item|thing) (of|in) this list: "
                                     f"{listed}"),
                    f"The list starts with {items[0]}.", items[0])
    if kind == 1:
        return turn(rng, expand(rng, f"(What is|Tell me|Give me) the last (word|item|thing) (of|in) this list: "
                                     f"{listed}"),
                    f"The list ends with {items[-1]}.", items[-1])
    if kind == 2:
        return turn(rng, expand(rng, f"(Reverse|Turn around)( the order of|) this list: {listed}"),
                    "From the last to the first.", ", ".join(reversed(items)))
    numbered = ", ".join(f"{i} {item}" for i, item in enumerate(items, 1))
    if kind == 3:
        return turn(rng, expand(rng, f"How many (words|items|things) are (in this list|there): {listed}?"),
                    f"{numbered}.", str(len(items)))
    place = rng.randint(2, len(items))
    ordinal = ("second", "third", "fourth", "fifth", "sixth")[place - 2]
    return turn(rng, f"What is the {ordinal} word of this list: {listed}?", f"{numbered}.", items[place - 1])


def counting(rng) -> Dialogue:
    first = rng.choice((1, 1, 1, 0, rng.randint(2, 90)))
    last = first + rng.choice((rng.randint(2, 12), rng.randint(2, 30), rng.randint(20, 99)))
    if rng.random() < 0.15:
        first, last = last, first
    step = 1 if last > first else -1
    numbers = [str(i) for i in range(first, last + step, step)]
    if step > 0 and first == 1 and rng.random() < 0.5:
        question = expand(rng, f"((Count|Please count|Can you count) (to|up to) {last}(.|)|(请|)(数到|从1数到){last})")
    else:
        question = expand(rng, f"((Count|Please count|Can you count) from {first} to {last}(.|)|(请|)从{first}数到{last})")
    glue = rng.choice((", ", ", ", " "))
    if glue == " ":
        question = question.rstrip(".") + (" without commas" if question.isascii() else "，不要逗号")
    return turn(rng, question, f"From {first} to {last}.", glue.join(numbers))


SUM = ["(What is|What's|Calculate|Compute|How much is|Tell me|) {a} {op} {b}(?|)", "{a} {op} {b} =( ?|)",
       "{a}{op}{b}(=|=?|?|)",
       "(计算|请计算|请问|) {a} {op} {b} (等于多少？|是多少？|=？|= ?)", "{a}{op}{b}等于(几|多少)？"]
SIGNS = {"+": ["+", "+", "+", "plus", "加"], "-": ["-", "-", "-", "minus", "减"], "*": ["*", "x", "×", "times", "乘"]}


def pair(rng, sign: str) -> tuple[int, int]:
    if sign == "*":
        if rng.random() < 0.7:
            return rng.randint(0, 10), rng.randint(0, 10)
        return rng.randint(2, 9), rng.randint(10, 99)
    limit = rng.choice((9, 20, 99, 99, 999, 999, 999, 999))
    a, b = rng.randint(0, limit), rng.randint(0, limit)
    return (max(a, b), min(a, b)) if sign == "-" and rng.random() < 0.85 else (a, b)


def arithmetic(rng, a: int | None = None, b: int | None = None, sign: str = "") -> Dialogue:
    sign = sign or rng.choice("++---*")
    if a is None or b is None:
        a, b = pair(rng, sign)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    said = rng.choice(SIGNS[sign])
    spaced = said if said in "+-*×" or said in "加减乘" else f" {said} "
    pattern = rng.choice(SUM)
    question = expand(rng, pattern).replace("{a}", str(a)).replace("{b}", str(b)).replace(
        "{op}", said if " {op} " in pattern else spaced).strip()
    answer = f"{a} {'×' if sign == '*' else sign} {b} = {result}"
    return turn(rng, question, answer + ".", rng.choice((answer, answer + ".")) if rng.random() < 0.02 else answer)


def compare(rng) -> Dialogue:
    a, b = (int(words.number(rng, 3)) for _ in range(2))
    if a == b:
        b += 1
    big = rng.random() < 0.5
    result = max(a, b) if big else min(a, b)
    adjective = rng.choice(("bigger", "larger", "greater")) if big else rng.choice(("smaller", "less"))
    question = expand(rng, f"(Which|Which number|What) is {adjective}(,|:) {a} or {b}?")
    if rng.random() < 0.25:
        question = f"{a}和{b}哪个{'大' if big else '小'}？"
    sign = ">" if a > b else "<"
    return turn(rng, question, f"{a} {sign} {b}.", str(result))


def story_sum(rng) -> Dialogue:
    who, thing = words.name(rng), words.plural(rng.choice(words.NOUNS))
    a, b = rng.randint(2, 60), rng.randint(1, 30)
    if rng.random() < 0.5:
        verb = rng.choice(("buys", "gets", "finds", "receives"))
        return turn(rng, f"{who} has {a} {thing} and {verb} {b} more. How many {thing} does {who} have now?",
                    f"{a} + {b} = {a + b}.", f"{who} has {a + b} {thing}.")
    a += b
    verb = rng.choice(("loses", "gives away", "sells", "drops"))
    left = rng.choice(("now", "left"))
    return turn(rng, f"{who} has {a} {thing} and {verb} {b}. How many {thing} does {who} have {left}?",
                f"{a} - {b} = {a - b}.", f"{who} has {a - b} {thing}.")


MAKERS = [(copy, 5), (spell, 1.5), (lists, 2), (counting, 1.5), (arithmetic, 9), (compare, 1), (story_sum, 1.2)]


def sample(rng) -> Dialogue:
    makers, weights = zip(*MAKERS)
    return rng.choices(makers, weights)[0](rng)
