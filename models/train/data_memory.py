"""Things to remember over several turns, and system prompts to obey."""

import data_chat
import data_gale
import data_skills
import words
from dialogue import Dialogue, assistant, system, user
from facts import FACTS
from words import expand

# (what is told, what is asked, the thought, the answer); {v} is the value.
THINGS = {
    "name": (["(Hi|Hello|Hey|)(,|) (my name is|I am|I'm|call me) {v}(.|!|)",
              "My name is {v}(. Remember it|. Please remember that|)(.|)"],
             ["(What is|What's|Do you (remember|know)|Tell me|Can you tell me) my name(?|)",
              "(Who am I|What am I called|How am I called)(?|)"],
             "The name was {v}.", "Your name is {v}."),
    "number": (["(Remember|Keep in mind|Please remember|Memorize)( the|:| this|) number(:|) {v}(.|)",
                "My (lucky|secret|favourite|room) number is {v}(.|)"],
               ["(What|Which) number (did I (tell|give) you|was it|should you remember)(?|)",
                "(What is|What's|Tell me) (the|my)( lucky| secret| favourite| room|) number(?|)"],
               "The number was {v}.", "The number is {v}."),
    "code": (["(Remember|Note|Keep)( the| this|) code(:|) {v}(.|)", "(The|My)( secret| access| door|) code is {v}(.|)"],
             ["(What is|What's|Tell me|Repeat) (the|my)( secret| access| door|) code(?|)",
              "(What|Which) code did I (tell|give) you(?|)"],
             "The code was {v}.", "The code is {v}."),
    "word": (["(Remember|Keep in mind|Please remember)( the|:| this|) word(:|) {v}(.|)",
              "The (secret|magic|code) word is {v}(.|)"],
             ["(What|Which) word (did I (tell|give) you|was it|should you remember)(?|)",
              "(What is|What's|Tell me) the (secret|magic|code|) word(?|)"],
             "The word was {v}.", "The word is {v}."),
    "city": (["I (live in|am from|come from|work in) {v}(.|)", "(My home is|My home town is) {v}(.|)"],
             ["(Where do I live|Where am I from|Where is my home|Which city do I live in|What is my city|Where do I "
              "come from)(?|)"],
             "They said {v}.", "You are from {v}."),
    "color": (["(My favourite|My favorite) (colour|color) is {v}(.|)", "I like (the color|the colour) {v}(.|)"],
              ["(What|Which) (colour|color) do I like(?|)", "What is my (favourite|favorite) (colour|color)(?|)"],
              "They like {v}.", "Your favourite colour is {v}."),
    "pet": (["(My|I have a) (dog|cat|pet) (is called|named|called) {v}(.|)", "My (dog|cat|pet)'s name is {v}(.|)"],
            ["(What is|What's|Tell me) (the name of my|my) (dog|cat|pet)( called| named|'s name|)(?|)"],
            "The pet is {v}.", "Your pet is called {v}."),
    "age": (["I am {v} years old(.|)", "My age is {v}(.|)"], ["(How old am I|What is my age)(?|)"],
            "They are {v}.", "You are {v} years old."),
    "zh_name": (["(你好，|)我(叫|是|的名字是){v}(。|)", "我的名字叫{v}(，请记住|)(。|)"],
                ["(我叫什么(名字|)|我是谁|你(记得|知道)我的名字吗|我的名字是什么|说出我的名字)(？|)"], "名字是{v}。", "你叫{v}。"),
    "zh_number": (["(请|)记住(数字|号码|这个数字)(：|:|){v}(。|)", "我的(号码|幸运数字|房间号)是{v}(。|)"],
                  ["(我说的(数字|号码)是(什么|多少)|刚才的(数字|号码)是(什么|多少)|(数字|号码|幸运数字|房间号)是(多少|什么))(？|)"],
                  "数字是{v}。", "数字是{v}。"),
    "zh_city": (["我(住在|来自){v}(。|)", "我家在{v}(。|)"], ["(我住在哪里|我来自哪里|我家在哪(里|)|我住哪儿)(？|)"],
                "是{v}。", "你住在{v}。"),
    "zh_word": (["(请|)记住(这个词|词语|单词)(：|:|){v}(。|)", "(暗号|密码|口令)是{v}(。|)"],
                ["(我让你记住的词是什么|那个词是什么|(暗号|密码|口令)是什么|我说的词是什么)(？|)"], "是{v}。", "是{v}。"),
}
ACKNOWLEDGE = ["I will remember that."]
ZH_ACKNOWLEDGE = ["我记住了。"]


def value(rng, kind: str) -> str:
    makers = {"name": words.name, "number": lambda r: words.number(r, 6), "code": words.code, "word": words.word,
              "city": words.city, "color": lambda r: r.choice(words.ADJECTIVES[:4] + ["yellow", "black", "white",
                                                                                      "purple",
                                                              "orange", "pink", "brown", "grey"]),
              "pet": words.name, "age": lambda r: str(r.randint(3, 99)), "zh_name": words.zh_name,
              "zh_number": lambda r: words.number(r, 6), "zh_city": lambda r: r.choice(words.ZH_CITIES),
              "zh_word": words.zh_word}
    return makers[kind](rng)


def told(rng, kind: str, text: str) -> list[dict]:
    """The user tells something; the answer shows that it was heard."""
    statement = expand(rng, rng.choice(THINGS[kind][0])).replace("{v}", text)
    statement = statement.lstrip(",. ")
    if kind == "name":
        answer = f"Hello, {text}! How can I help?"
    elif kind == "zh_name":
        answer = f"你好，{text}！有什么可以帮你？"
    else:
        answer = (ZH_ACKNOWLEDGE if kind.startswith("zh_") else ACKNOWLEDGE)[0]
    return [user(statement), assistant(answer)]


def filler(rng, in_chinese: bool) -> list[dict]:
    kind = rng.random()
    if kind < 0.4:
        return data_gale.exchange(rng, False, in_chinese)
    if kind < 0.7:
        return [strip_thought(m) for m in data_skills.sample(rng).messages]
    return [m for m in data_chat.unknown(rng).messages[:1]] + [
        assistant(data_chat.ZH_DO_NOT_KNOW if in_chinese else data_chat.DO_NOT_KNOW)] if not in_chinese else \
        data_gale.exchange(rng, False, True)


def strip_thought(message: dict) -> dict:
    return {key: text for key, text in message.items() if key != "reasoning_content"}


def remember(rng, fillers: int | None = None) -> Dialogue:
    """One to three things are told, something else is talked about, then one thing is asked for."""
    thinking = rng.random() < 0.55
    in_chinese = rng.random() < 0.3
    kinds = [kind for kind in THINGS if kind.startswith("zh_") == in_chinese]
    chosen = rng.sample(kinds, rng.choice((1, 1, 2, 3)))
    values = {kind: value(rng, kind) for kind in chosen}
    parts = [told(rng, kind, text) for kind, text in values.items()]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3)) if fillers is None else fillers):
        parts.insert(rng.randint(0 if len(parts) > 1 else 1, len(parts)), filler(rng, in_chinese))
    messages = [message for part in parts for message in part]
    for kind in rng.sample(chosen, rng.randint(1, len(chosen))):
        _, questions, thought, answer = THINGS[kind]
        messages += [user(expand(rng, rng.choice(questions))),
                     assistant(answer.replace("{v}", values[kind]),
                               thought.replace("{v}", values[kind]) if thinking else "")]
    return Dialogue(messages, thinking=thinking)


UNTOLD = {"name": ("They did not tell me.", "You did not tell me your name."),
          "number": ("They did not tell me.", "You did not tell me a number."),
          "code": ("They did not tell me.", "You did not tell me a code."),
          "city": ("They did not tell me.", "You did not tell me where you live."),
          "zh_name": ("用户没有告诉我。", "你没有告诉我你的名字。"),
          "zh_city": ("用户没有告诉我。", "你没有告诉我你住在哪里。")}


def untold(rng) -> Dialogue:
    thinking = rng.random() < 0.55
    kind = rng.choice(list(UNTOLD))
    messages = filler(rng, kind.startswith("zh_")) if rng.random() < 0.5 else []
    thought, answer = UNTOLD[kind]
    messages += [user(expand(rng, rng.choice(THINGS[kind][1]))), assistant(answer, thought if thinking else "")]
    return Dialogue(messages, thinking=thinking)


def given_name(rng) -> Dialogue:
    """The system prompt names the assistant."""
    thinking, in_chinese = rng.random() < 0.55, rng.random() < 0.3
    who = words.zh_name(rng) if in_chinese else words.name(rng)
    if in_chinese:
        prompt = expand(rng, f"(你(叫|的名字是|是){who}(，一个(有用的|友好的|)助手|)。|你是助手{who}。)")
        question = expand(rng, "(你是谁|你叫什么(名字|)|你的名字是什么|怎么称呼你)(？|)")
        thought, answer = f"我叫{who}。", f"我是{who}。"
    else:
        prompt = expand(rng, f"(Your name is {who}|You are {who}|You are called {who}|You are an assistant named {who})"
                             "(, a (helpful|friendly) assistant|)(.|)")
        question = expand(rng,
                          "(What is|What's|Tell me) your name(?|)|(Who are you|How are you called|What should I call "
                          "you)(?|)")
        thought, answer = f"My name is {who}.", f"I am {who}."
    return Dialogue([system(prompt), user(question), assistant(answer, thought if thinking else "")], thinking=thinking)


def given_fact(rng) -> Dialogue:
    """The answer stands in the system prompt."""
    thinking = rng.random() < 0.55
    thing = rng.choice(words.NOUNS)
    owner = rng.choice(("user", "guest", "customer", "boss", "team", "company"))
    kind = rng.randint(0, 2)
    if kind == 0:
        text = words.code(rng)
        prompt, question = f"The {thing} code is {text}.", f"What is the {thing} code?"
        thought, answer = f"The system prompt says {text}.", f"The {thing} code is {text}."
    elif kind == 1:
        text = words.name(rng)
        prompt, question = f"The {owner}'s name is {text}.", f"What is the {owner}'s name?"
        thought, answer = f"The system prompt says {text}.", f"The {owner}'s name is {text}."
    else:
        text = words.number(rng, 4)
        prompt, question = f"The {thing} costs {text} dollars.", f"How much does the {thing} cost?"
        thought, answer = f"The system prompt says {text}.", f"The {thing} costs {text} dollars."
    start = expand(rng, "(You are a helpful assistant. |You are a shop assistant. |Be brief. |)")
    end = expand(rng, "( Answer questions about it.| Be polite.|)")
    return Dialogue([system(start + prompt + end), user(question), assistant(answer, thought if thinking else "")],
                    thinking=thinking)


def in_language(rng) -> Dialogue:
    """A system prompt fixes the language of the answer, whatever the question's."""
    thinking, answer_chinese = rng.random() < 0.55, rng.random() < 0.6
    fact = rng.choice(FACTS)
    question = data_gale.question(rng, fact, in_chinese=not answer_chinese if rng.random() < 0.8 else answer_chinese)
    if answer_chinese:
        prompt = expand(rng,
                        "(Answer|Always answer|Reply|Respond|Always reply|Speak)( only|) in "
                        "Chinese(.|)|(请|)(只|总是|始终|)用中文回答(。|)")
        thought, answer = f"用中文回答：{fact.zh_topic}。", fact.zh_answer
    else:
        prompt = expand(rng,
                        "(Answer|Always answer|Reply|Respond|Always reply|Speak)( only|) in "
                        "English(.|)|(请|)(只|总是|始终|)用英文回答(。|)")
        thought, answer = f"Answer in English: {fact.topic}.", fact.answer
    return Dialogue([system(prompt), user(question), assistant(answer, thought if thinking else "")], thinking=thinking)


def in_style(rng) -> Dialogue:
    """A system prompt asks for capitals, an ending or a beginning."""
    thinking = rng.random() < 0.55
    base = data_chat.talk_turn(rng, False, False) if rng.random() < 0.5 else data_gale.exchange(rng, False, False)
    answer, kind = base[1]["content"], rng.randint(0, 2)
    word = rng.choice(words.NOUNS).upper() if rng.random() < 0.4 else rng.choice(("Sir", "Done", "OK", "Yes", "friend",
                                                                                  "over"))
    if kind == 0:
        prompt = expand(rng, f"(End|Finish) (every|each) (answer|reply) with (the word |){word}.")
        thought, answer = f"End with {word}.", f"{answer} {word}"
    elif kind == 1:
        prompt = expand(rng, f"(Begin|Start) (every|each) (answer|reply) with (the word |){word}.")
        thought, answer = f"Begin with {word}.", f"{word} {answer}"
    else:
        prompt = expand(rng, f"(Always answer|Answer|Reply) (only |)with (the word |)\"{word}\"( and nothing else|).")
        thought, answer = f"Only {word}.", word
    return Dialogue([system(prompt), base[0], assistant(answer, thought if thinking else "")], thinking=thinking)


MAKERS = [(remember, 6), (untold, 0.7), (given_name, 1.3), (given_fact, 1.3), (in_language, 1.3), (in_style, 1)]


def sample(rng) -> Dialogue:
    makers, weights = zip(*MAKERS)
    return rng.choices(makers, weights)[0](rng)
