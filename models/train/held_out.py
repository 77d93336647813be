"""What the training data must never hold: names of tools and parameters, and requests, that only the
evaluation uses."""

import re

VERBS = ["archive", "merge", "repaint", "repair", "upload", "download", "register", "unlock", "rename", "restart",
         "inspect",
         "compress", "publish", "approve", "reject", "attach"]
THINGS = ["bicycle", "playlist", "database", "wallet", "ferry", "elevator", "greenhouse", "satellite", "drone",
          "scooter",
          "spreadsheet", "voucher", "firewall", "calendar", "battery", "aquarium"]
PARAMETERS = ["region", "owner", "channel", "nickname", "depth", "attempts", "port_number", "width", "threshold",
              "silent", "overwrite",
              "quality", "mode", "labels", "floors"]
NAMES = frozenset(VERBS + THINGS + PARAMETERS)

# (known tool, request)
REQUESTS = [
    ("get_weather", "I am travelling to {city}. How is the weather there?"),
    ("get_weather", "Weather in {city} please"),
    ("get_weather", "Can you look up the weather for me? I am in {city}."),
    ("set_timer", "Please count down {minutes} minutes with a timer."),
    ("set_timer", "I need a timer of {minutes} minutes for my tea."),
    ("add", "Use your tool: what do {a} and {b} add up to?"), ("multiply", "Please multiply these two: {a} and {b}."),
    ("web_search", "Could you search for {query} please?"),
    ("convert_currency", "I have {amount} {from_currency} and want {to_currency}. Convert it."),
    ("book_flight", "On {date} I must fly from {origin} to {destination}."),
    ("get_stock_price", "What does one share of {symbol} cost? Get the price."),
    ("read_file", "I want to see what {path} contains. Read it."),
    ("play_music", "I would like to hear some music by {artist}."),
    ("translate", "Please translate \"{text}\" into {target_language}, thank you."),
    ("get_weather", "请问{city}的天气如何，谢谢"),
    ("set_timer", "请帮我设一个{minutes}分钟的定时器，谢谢")]

# The ways the evaluation gives an argument to an unseen tool that no training request may use.
CLAUSES = [" where {n} is {v}", " and with {n} {v}", ", use {n} {v}"]


def bare(text: str) -> str:
    """Letters, digits and braces in lower case: what is left when punctuation and spaces do not count."""
    return re.sub(r"[^\w{}]+", " ", text.lower()).strip()


_BARE_REQUESTS = frozenset(bare(request) for _, request in REQUESTS)


def is_held_out_request(pattern: str) -> bool:
    """Whether a request, its values still as {placeholders}, holds one of the evaluation's."""
    pattern = bare(pattern)
    return any(request in pattern for request in _BARE_REQUESTS)
