"""Word lists and random words, in English and Chinese, and the little grammar the phrases are written in."""

import functools
import json
import pathlib
import string

from held_out import NAMES as HELD_OUT_NAMES

NAMES = """Ada Alan Alice Amir Ana Anna Ben Bob Carla Carlos Chloe Clara Daniel David Diana Elena Emma Eric Eva Felix
Finn Frida Grace Hana Hugo Ida Igor Ines Ivan Jack Jan Jonas Julia Karl Kate Lara Lea Leo Liam Lina Lucas Maria Marie
Mark Martin Maya Mia Mila Nina Noah Nora Olga Oliver Omar Oscar Paul Peter Priya Rosa Sam Sara Sofia Tom Vera Victor
Wei Yuki Zoe John Jane Mary James Robert Linda Susan Ahmed Fatima Hiro Ken Mei Ravi Tara Uma""".split()

ZH_NAMES = """小明 小红 小刚 小丽 小华 小芳 小强 小雨 李雷 韩梅梅 王伟 张敏 刘洋 陈静 杨帆 赵磊 黄婷 周杰 吴昊 徐丽 孙悦 马超
朱琳 胡军 郭靖 林涛 何洁 高峰 罗兰 郑爽 梁宇 谢娜 宋佳 唐宁 许晴 邓超 冯刚 曹颖 彭飞 曾毅""".split()

CITIES = """Oslo Paris Berlin London Madrid Rome Vienna Prague Warsaw Lisbon Dublin Athens Helsinki Stockholm Copenhagen
Amsterdam Brussels Zurich Geneva Munich Hamburg Milan Naples Seville Porto Lyon Krakow Budapest Bucharest Sofia
Istanbul Cairo Nairobi Lagos Accra Tunis Dubai Doha Delhi Mumbai Beijing Shanghai Shenzhen Tokyo Osaka Kyoto Seoul
Busan Bangkok Hanoi Jakarta Manila Sydney Perth Auckland Toronto Montreal Boston Chicago Denver Seattle Austin Dallas
Miami Lima Bogota Quito Santiago Havana""".split() + ["New York", "San Francisco", "Hong Kong", "Cape Town"]

ZH_CITIES = """北京 上海 广州 深圳 杭州 南京 成都 重庆 武汉 西安 天津 苏州 长沙 青岛 大连 厦门 昆明 哈尔滨 沈阳 郑州 济南 福州 合肥
南昌 贵阳 太原 兰州 拉萨 香港 台北 东京 巴黎 伦敦 纽约""".split()

NOUNS = """apple river table window garden bottle mountain letter pencil bridge candle forest mirror blanket basket
engine ladder market button camera carpet circle cloud coffee corner cotton desert dinner doctor dragon flower
kitchen ocean orange paper picture planet pocket rabbit ribbon rocket school shadow silver spider spring station
stone summer sugar temple ticket tiger tower train valley village violin water winter wizard wolf wood yellow
anchor arrow autumn bakery balloon banana barrel beach bell bird boat book box bread brick broom bus butter cabin
cake canal card castle cave chair cheese cherry city clock coat comb cookie cow crown cup curtain desk dog door
drum duck eagle ear egg elephant evening eye farm feather fence field fire fish flag floor fog fork fox frog fruit
game gate ghost glass glove goat gold grape grass guitar hammer hand harbor hat hill honey horse hospital house ice
island jacket jar jungle key king kite knife lake lamp leaf lemon library light lion lock map meadow melon milk
money monkey moon morning mouse museum needle nest night nut oven owl paint pan parrot path peach pear pen pepper
piano pig pillow pine pipe plane plate plum pond potato prince pumpkin queen rain ring road robot roof room rope
rose salt sand sea seed sheep ship shirt shoe shop sky snow soap sock soup spoon square star storm street sun
swan sword tea tent thread tomato tooth tree truck turtle umbrella wagon wall watch wave wheel whale wind wing
worm yard zebra""".split()

ADJECTIVES = """red blue green small large quick slow bright dark quiet loud warm cold soft hard old new young happy sad
brave calm clever gentle proud shy wild tiny huge round flat sharp smooth rough sweet bitter fresh dry wet clean
empty full heavy light deep shallow narrow wide early late simple strange golden silver wooden""".split()

VERBS = """walk run jump sing read write paint build cook bake swim climb dance sleep dream laugh smile talk listen
watch play work travel learn teach draw plant carry open close find lose bring take give send call wait help visit
share fix wash clean count measure throw catch push pull follow lead""".split()

ZH_WORDS = """苹果 河流 桌子 窗户 花园 瓶子 高山 书信 铅笔 大桥 蜡烛 森林 镜子 篮子 引擎 市场 相机 地毯 云朵 咖啡 沙漠 晚餐 医生
花朵 厨房 海洋 橙子 纸张 图片 行星 口袋 兔子 火箭 学校 影子 春天 车站 石头 夏天 白糖 车票 老虎 高塔 火车 山谷 村庄 提琴
清水 冬天 木头 黄色 秋天 面包 气球 香蕉 海滩 小鸟 小船 书本 盒子 蛋糕 卡片 城堡 椅子 奶酪 樱桃 城市 时钟 大衣 王冠 杯子
大门 鸭子 老鹰 鸡蛋 大象 农场 羽毛 田野 火焰 小鱼 旗子 地板 青蛙 水果 游戏 玻璃 手套 黄金 葡萄 草地 吉他 帽子 蜂蜜 骏马
医院 房子 冰块 岛屿 钥匙 国王 风筝 湖泊 台灯 树叶 柠檬 狮子 地图 牛奶 猴子 月亮 早晨 博物馆 夜晚 钢琴 小猪 枕头 飞机 盘子
土豆 王子 女王 雨水 戒指 道路 机器人 屋顶 房间 绳子 玫瑰 大海 种子 绵羊 轮船 衬衫 鞋子 商店 天空 白雪 肥皂 汤匙 星星 风暴
街道 太阳 天鹅 茶叶 帐篷 番茄 牙齿 大树 卡车 乌龟 雨伞 围墙 手表 波浪 车轮 鲸鱼 翅膀 斑马""".split()

ONSETS = "b br c ch cl d dr f fl g gl gr h j k kl l m n p pl pr qu r s sh sk sl st t tr v w z".split()
VOWELS = "a e i o u ai ea ee io oo ou".split()
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "nd", "rk", "st", "ng"]


TOKENIZER = pathlib.Path(__file__).resolve().parent.parent / "nano-flash" / "tokenizer.json"
SPACE = "\u0120"  # how the vocabulary writes a leading space
WORDS = pathlib.Path(__file__).with_name("words_en.txt").read_text(encoding="utf-8").split()


def common_hanzi() -> str:
    """The 3,755 common characters, read off the code table of GB 2312."""
    rows = (bytes((high, low)) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    return "".join(pair.decode("gb2312", errors="ignore") for pair in rows)


HANZI = common_hanzi()


@functools.lru_cache(maxsize=None)
def pieces() -> list[str]:
    """The letters of the vocabulary's tokens. A name is cut into other tokens after a quote than where a call begins,
    so copying one means spelling it anew: words of all tokens teach that for all of them."""
    vocabulary = json.loads(TOKENIZER.read_text(encoding="utf-8"))["model"]["vocab"]
    bare = {token.removeprefix(SPACE) for token in vocabulary}
    lower = {token for token in bare if token.isascii() and token.isalpha() and token.islower()}
    return sorted(token for token in lower if len(token) > 1)


def made_up(rng, syllables: int = 0) -> str:
    """A word that is in no list: the halves of two words, tokens of the vocabulary, mere letters, or syllables."""
    while (word := assembled(rng, syllables)) in HELD_OUT_NAMES:
        pass
    return word


def assembled(rng, syllables: int) -> str:
    kind = rng.random()
    if kind < 0.3:
        first, second = rng.choice(WORDS), rng.choice(WORDS)
        return first[:rng.randint(2, 4)] + second[-rng.randint(2, 5):]
    if kind < 0.65:
        return "".join(rng.choice(pieces()) for _ in range(rng.choice((1, 2, 2, 2, 3))))
    if kind < 0.75:
        return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 8)))
    syllables = syllables or rng.randint(2, 3)
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))


def word(rng) -> str:
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(NOUNS)
    if kind < 0.35:
        return rng.choice(ADJECTIVES)
    if kind < 0.4:
        return rng.choice(VERBS)
    return rng.choice(WORDS) if kind < 0.75 else made_up(rng)


def zh_word(rng) -> str:
    if rng.random() < 0.6:
        return rng.choice(ZH_WORDS)
    return "".join(rng.choice(HANZI) for _ in range(rng.randint(2, 4)))


def any_word(rng) -> str:
    return zh_word(rng) if rng.random() < 0.25 else word(rng)


def name(rng) -> str:
    return rng.choice(NAMES) if rng.random() < 0.7 else made_up(rng).capitalize()


def zh_name(rng) -> str:
    if rng.random() < 0.6:
        return rng.choice(ZH_NAMES)
    return "".join(rng.choice(HANZI) for _ in range(rng.randint(2, 3)))


def city(rng) -> str:
    return rng.choice(CITIES) if rng.random() < 0.75 else made_up(rng).capitalize()


def code(rng) -> str:
    """An order number, a key, an identifier: letters and digits."""
    kind = rng.randint(0, 3)
    if kind == 0:
        return "".join(rng.choice(string.ascii_uppercase + string.digits) for _ in range(rng.randint(4, 7)))
    if kind == 1:
        return "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 3))) + "-" + number(rng, 5)
    if kind == 2:
        return rng.choice(NOUNS) + "_" + number(rng, 4)
    return made_up(rng) + number(rng, 3)


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun + "s"


def number(rng, digits: int) -> str:
    """A number of 1 to `digits` digits, each length equally likely."""
    length = rng.randint(1, digits)
    return str(rng.randint(0 if length == 1 else 10 ** (length - 1), 10 ** length - 1))


def sentence(rng, words: int = 0) -> str:
    """A sentence of the words above; grammatical, without much sense."""
    words = words or rng.randint(4, 12)
    noun, other = rng.choice(NOUNS), rng.choice(NOUNS)
    text = f"The {rng.choice(ADJECTIVES)} {noun} {rng.choice(VERBS)}s"
    while len(text.split()) < words:
        text += rng.choice((f" near the {rng.choice(ADJECTIVES)} {other}", f" and {rng.choice(VERBS)}s",
                            f" with {name(rng)}", f" in {city(rng)}", f" behind the {rng.choice(NOUNS)}",
                            f" every {rng.choice(('day', 'night', 'morning', 'week'))}"))
    return text + "."


def zh_sentence(rng) -> str:
    who = rng.choice((zh_name(rng), rng.choice(ZH_WORDS)))
    where = rng.choice((rng.choice(ZH_CITIES), "这里", "外面", "那边"))
    what = rng.choice(("看见了", "买了", "找到了", "喜欢", "画了", "带来了"))
    return f"{who}在{where}{what}{zh_word(rng)}" + rng.choice(("。", f"和{zh_word(rng)}。", "，然后回家了。"))


# A phrase is text with alternatives: "(what|which) port( do I use|)" may be nested.

@functools.lru_cache(maxsize=None)
def parse_phrase(text: str):
    tree, position = parse_choices(text, 0)
    if position != len(text):
        raise ValueError(f"unbalanced ')' in {text!r}")
    return tree


def parse_choices(text: str, position: int):
    """A tuple of alternatives, each a tuple of strings and choices."""
    choices, items, start = [], [], position
    while position < len(text) and text[position] != ")":
        character = text[position]
        if character in "(|":
            items.append(text[start:position])
            if character == "(":
                inner, position = parse_choices(text, position + 1)
                if position == len(text):
                    raise ValueError(f"unbalanced '(' in {text!r}")
                items.append(inner)
            else:
                choices.append(tuple(items))
                items = []
            start = position + 1
        position += 1
    items.append(text[start:position])
    choices.append(tuple(items))
    return tuple(choices), position


def expand(rng, text: str) -> str:
    """One random reading of a phrase."""
    return pick_reading(rng, parse_phrase(text))


def pick_reading(rng, choices) -> str:
    items = choices[0] if len(choices) == 1 else rng.choice(choices)
    return "".join(item if isinstance(item, str) else pick_reading(rng, item) for item in items)
