"""What tools are made of: parameters with their values and the ways to mention them, and well-known tools."""

from dataclasses import dataclass
from typing import Callable

import words


@dataclass(frozen=True)
class Parameter:
    """A parameter: its schema, a maker of values, and phrases that mention a value {v} in a request.

    `asks` are clauses that follow the request ("for 3 days"); they must make clear which parameter is meant.
    """

    name: str
    schema: dict
    make: Callable
    asks: tuple[str, ...]
    zh_asks: tuple[str, ...] = ()


def text(description: str) -> dict:
    return {"type": "string", "description": description}


def whole(description: str) -> dict:
    return {"type": "integer", "description": description}


def decimal(description: str) -> dict:
    return {"type": "number", "description": description}


def flag(description: str) -> dict:
    return {"type": "boolean", "description": description}


def choice(values, description: str) -> dict:
    return {"type": "string", "enum": list(values), "description": description}


def listing(kind: str, description: str) -> dict:
    return {"type": "array", "items": {"type": kind}, "description": description}


def one_of(*values):
    return lambda rng: rng.choice(values)


def up_to(limit: int):
    return lambda rng: rng.randint(1, limit)


def fraction(limit: int):
    return lambda rng: round(rng.uniform(0.1, limit), rng.choice((1, 1, 2)))


def yes_no(rng) -> bool:
    return rng.random() < 0.5


def date(rng) -> str:
    return f"{rng.randint(2020, 2030)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def clock(rng) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def mail(rng) -> str:
    return (f"{words.name(rng).lower()}@{rng.choice(('example', words.made_up(rng)))}."
            f"{rng.choice(('com', 'org', 'net'))}")


def link(rng) -> str:
    return f"https://{words.made_up(rng)}.{rng.choice(('com', 'org', 'io'))}/{rng.choice(words.NOUNS)}"


def file_path(rng) -> str:
    return (f"/{rng.choice(('tmp', 'home', 'data', 'etc', 'var'))}/{words.word(rng)}."
            f"{rng.choice(('txt', 'csv', 'json', 'log', 'md'))}")


def title(rng) -> str:
    return " ".join(words.word(rng) for _ in range(rng.randint(2, 4)))


def several(make):
    return lambda rng: [make(rng) for _ in range(rng.randint(1, 4))]


UNITS = ("celsius", "fahrenheit")
PRIORITIES = ("low", "medium", "high")
SIZES = ("small", "medium", "large")
COLORS = ("red", "green", "blue", "yellow", "black", "white")
LANGUAGES = ("English", "Chinese", "French", "German", "Spanish", "Japanese")
CURRENCIES = ("USD", "EUR", "CNY", "JPY", "GBP")

PARAMETERS = [
    Parameter("city", text("The city"), words.city, ("in {v}", "for {v}", "for the city {v}"), ("在{v}", "城市是{v}")),
    Parameter("location", text("The place, for example a city"), words.city, ("in {v}", "at {v}", "near {v}"),
              ("在{v}", "地点是{v}")),
    Parameter("country", text("Name of the country"), words.city, ("in the country {v}", "with country {v}"),
              ("国家是{v}",)),
    Parameter("name", text("The name"), words.name, ("named {v}", "with the name {v}", "called {v}"),
              ("名字是{v}", "名叫{v}")),
    Parameter("user", text("The user's name"), words.name, ("for the user {v}", "of user {v}"), ("用户是{v}", "为用户{v}")),
    Parameter("recipient", text("Who receives it"), words.name, ("to {v}", "for the recipient {v}"),
              ("给{v}", "收件人是{v}")),
    Parameter("email", text("An email address"), mail, ("with the email {v}", "for {v}", "email {v}"), ("邮箱是{v}",)),
    Parameter("date", text("The date as YYYY-MM-DD"), date, ("on {v}", "for {v}", "with the date {v}"),
              ("日期是{v}", "在{v}")),
    Parameter("start_date", text("First day, YYYY-MM-DD"), date, ("from {v}", "starting on {v}"), ("从{v}开始",)),
    Parameter("end_date", text("Last day, YYYY-MM-DD"), date, ("until {v}", "ending on {v}"), ("到{v}为止",)),
    Parameter("time", text("The time of day as HH:MM"), clock, ("at {v}", "at the time {v}"), ("时间是{v}",)),
    Parameter("days", whole("Number of days"), up_to(14), ("for {v} days", "over {v} days", "for the next {v} days"),
              ("{v}天", "未来{v}天")),
    Parameter("hours", whole("Number of hours"), up_to(24), ("for {v} hours", "lasting {v} hours"), ("{v}小时",)),
    Parameter("minutes", whole("Number of minutes"), up_to(90), ("for {v} minutes", "of {v} minutes"), ("{v}分钟",)),
    Parameter("limit", whole("Maximum number of results"), up_to(50),
              ("with at most {v} results", "limit {v}", "with a limit of {v}"), ("最多{v}个",)),
    Parameter("count", whole("How many"), up_to(100), ("{v} times", "with count {v}", "with a count of {v}"),
              ("数量是{v}",)),
    Parameter("quantity", whole("Number of pieces"), up_to(40),
              ("quantity {v}", "{v} pieces", "with a quantity of {v}"), ("{v}件",)),
    Parameter("page", whole("Page number"), up_to(30), ("on page {v}", "page {v}"), ("第{v}页",)),
    Parameter("year", whole("The year"), lambda rng: rng.randint(1950, 2030), ("in the year {v}", "of the year {v}"),
              ("{v}年",)),
    Parameter("age", whole("Age in years"), up_to(99), ("with age {v}", "aged {v}"), ("年龄{v}",)),
    Parameter("level", whole("The level"), up_to(10), ("at level {v}", "with level {v}"), ("级别{v}",)),
    Parameter("id", whole("Numeric identifier"), up_to(99999), ("with the id {v}", "number {v}", "with id {v}"),
              ("编号{v}", "编号是{v}")),
    Parameter("order_id", text("The order number"), words.code, ("for the order {v}", "of order {v}"),
              ("订单号是{v}", "订单{v}")),
    Parameter("code", text("The code"), words.code, ("with the code {v}", "using the code {v}"), ("代码是{v}",)),
    Parameter("amount", decimal("Amount of money"), fraction(500), ("with an amount of {v}", "of the amount {v}"),
              ("金额是{v}",)),
    Parameter("price", decimal("Price"), fraction(200), ("at a price of {v}", "for the price {v}"), ("价格是{v}",)),
    Parameter("weight", decimal("Weight in kilograms"), fraction(90), ("weighing {v} kg", "with a weight of {v}"),
              ("重{v}公斤",)),
    Parameter("temperature", decimal("Target temperature"), fraction(30),
              ("at a temperature of {v}", "to {v} degrees"), ("温度是{v}",)),
    Parameter("distance", decimal("Distance in kilometres"), fraction(99),
              ("within {v} km", "at a distance of {v} km"), ("{v}公里以内",)),
    Parameter("ratio", decimal("The ratio"), fraction(5), ("with a ratio of {v}", "ratio {v}"), ("比例是{v}",)),
    Parameter("unit", choice(UNITS, "Unit of temperature"), one_of(*UNITS), ("in {v}", "with the unit {v}"),
              ("单位是{v}",)),
    Parameter("priority", choice(PRIORITIES, "How urgent it is"), one_of(*PRIORITIES),
              ("with {v} priority", "priority {v}"), ("优先级是{v}",)),
    Parameter("size", choice(SIZES, "The size"), one_of(*SIZES), ("in size {v}", "size {v}"), ("尺寸是{v}",)),
    Parameter("color", choice(COLORS, "The colour"), one_of(*COLORS), ("in {v}", "in the color {v}"), ("颜色是{v}",)),
    Parameter("language", choice(LANGUAGES, "The language"), one_of(*LANGUAGES), ("in {v}", "in the language {v}"),
              ("语言是{v}",)),
    Parameter("currency", choice(CURRENCIES, "Currency code"), one_of(*CURRENCIES),
              ("in {v}", "with the currency {v}"), ("货币是{v}",)),
    Parameter("verbose", flag("Print more"), yes_no, ("with verbose {v}", "verbose {v}"), ("verbose为{v}",)),
    Parameter("urgent", flag("Whether it is urgent"), yes_no, ("with urgent set to {v}", "urgent {v}"),
              ("urgent为{v}",)),
    Parameter("enabled", flag("Whether it is on"), yes_no, ("with enabled {v}", "enabled set to {v}"),
              ("enabled为{v}",)),
    Parameter("recursive", flag("Include what is inside"), yes_no, ("with recursive {v}", "recursive set to {v}"),
              ("recursive为{v}",)),
    Parameter("tags", listing("string", "Tags"), several(words.word), ("with the tags {v}", "tagged {v}"), ("标签是{v}",)),
    Parameter("names", listing("string", "Names"), several(words.name), ("for {v}", "with the names {v}"), ("名字是{v}",)),
    Parameter("numbers", listing("integer", "The numbers"), several(up_to(99)),
              ("of the numbers {v}", "with the numbers {v}"), ("数字是{v}",)),
    Parameter("ids", listing("integer", "Identifiers"), several(up_to(999)), ("with the ids {v}", "for the ids {v}"),
              ("编号是{v}",)),
    Parameter("query", text("What to look for"), title, ("for \"{v}\"", "with the query \"{v}\"", "about {v}"),
              ("关键词是“{v}”",)),
    Parameter("title", text("The title"), title, ("with the title \"{v}\"", "titled \"{v}\""), ("标题是“{v}”",)),
    Parameter("message", text("The text of the message"), words.sentence,
              ("saying \"{v}\"", "with the message \"{v}\""), ("内容是“{v}”",)),
    Parameter("path", text("Path of the file"), file_path, ("at {v}", "with the path {v}"), ("路径是{v}",)),
    Parameter("url", text("The address"), link, ("at {v}", "with the url {v}"), ("网址是{v}",)),
    Parameter("topic", text("The topic"), words.word, ("about {v}", "on the topic {v}"), ("主题是{v}",)),
    Parameter("product", text("Name of the product"), words.word, ("of the product {v}", "for the product {v}"),
              ("产品是{v}",)),
    Parameter("category", text("The category"), words.word, ("in the category {v}", "with category {v}"), ("类别是{v}",)),
]

# Verb, phrases for it, and the same in Chinese.
ACTIONS = [("get", "(get|fetch|give me|show me|tell me)", "(获取|查询|给我)"),
           ("search", "(search|look for|find)", "(搜索|查找)"),
           ("create", "(create|make|add|set up)", "(创建|新建|添加)"), ("delete", "(delete|remove|erase)", "(删除|移除)"),
           ("update", "(update|change|modify)", "(更新|修改)"), ("list", "(list|show|show me)", "(列出|显示)"),
           ("send", "(send|transmit)", "(发送|寄出)"), ("book", "(book|reserve)", "(预订|预定)"),
           ("cancel", "(cancel|call off)", "(取消)"), ("calculate", "(calculate|compute|work out)", "(计算)"),
           ("convert", "(convert|transform)", "(转换)"), ("open", "(open)", "(打开)"), ("close", "(close|shut)", "(关闭)"),
           ("start", "(start|launch|begin)", "(启动|开始)"), ("stop", "(stop|halt|end)", "(停止)"),
           ("check", "(check|verify|test)", "(检查|核对)"), ("buy", "(buy|order|purchase)", "(购买|订购)"),
           ("schedule", "(schedule|plan)", "(安排)"), ("translate", "(translate)", "(翻译)"),
           ("save", "(save|store)", "(保存)"), ("load", "(load|read)", "(加载|读取)"), ("play", "(play)", "(播放)"),
           ("count", "(count)", "(统计)"), ("move", "(move|shift)", "(移动)"), ("copy", "(copy|duplicate)", "(复制)"),
           ("rate", "(rate|score)", "(评价)"), ("print", "(print)", "(打印)"), ("share", "(share)", "(分享)"),
           ("track", "(track|follow)", "(跟踪|追踪)"), ("measure", "(measure)", "(测量)")]

OBJECTS = [("weather", "the weather", "天气"), ("flight", "a flight", "航班"), ("hotel", "a hotel room", "酒店"),
           ("meeting", "a meeting", "会议"),
           ("email", "an email", "邮件"), ("reminder", "a reminder", "提醒"), ("order", "the order", "订单"),
           ("user", "the user", "用户"),
           ("file", "the file", "文件"), ("song", "a song", "歌曲"), ("recipe", "a recipe", "菜谱"),
           ("ticket", "a ticket", "票"),
           ("account", "the account", "账户"), ("invoice", "the invoice", "发票"), ("task", "a task", "任务"),
           ("event", "an event", "活动"),
           ("note", "a note", "笔记"), ("device", "the device", "设备"), ("light", "the light", "灯"),
           ("route", "a route", "路线"),
           ("stock", "the stock", "股票"), ("news", "the news", "新闻"), ("picture", "a picture", "图片"),
           ("report", "the report", "报告"),
           ("package", "the package", "包裹"), ("payment", "the payment", "付款"), ("product", "the product", "产品"),
           ("table", "a table", "桌位"),
           ("car", "a car", "汽车"), ("room", "the room", "房间"), ("contact", "the contact", "联系人"),
           ("message", "a message", "消息"),
           ("timer", "a timer", "计时器"), ("alarm", "an alarm", "闹钟"), ("document", "the document", "文档"),
           ("server", "the server", "服务器"),
           ("price", "the price", "价格"), ("score", "the score", "分数"), ("video", "a video", "视频"),
           ("book", "a book", "书"),
           ("backup", "the backup", "备份"), ("camera", "the camera", "相机"), ("printer", "the printer", "打印机"),
           ("garden", "the garden", "花园")]
