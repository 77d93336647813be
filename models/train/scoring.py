"""Judges an answer against what a case expects, and prints the scores; used by evaluate.py and eval_http.py."""

import json
import re
from collections import defaultdict

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.S)
ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.S)


def parameter_schema(tools, name: str, key: str) -> dict:
    for tool in tools or ():
        if tool["function"]["name"] == name:
            return tool["function"].get("parameters", {}).get("properties", {}).get(key, {})
    return {}


def parse_calls(text: str, tools) -> tuple[str, list[dict]]:
    """(text before the calls, calls); a malformed call is left in the text."""
    calls = []
    for body in CALL.findall(text):
        name = re.split(r"<arg_key>|\n", body, maxsplit=1)[0].strip()
        arguments = {}
        for key, value in ARGUMENT.findall(body):
            if parameter_schema(tools, name, key).get("type") != "string":
                try:
                    value = json.loads(value)
                except ValueError:
                    pass
            arguments[key] = value
        calls.append({"name": name, "arguments": arguments})
    return CALL.sub("", text).strip(), calls


def split_reply(text: str, thinking: bool) -> tuple[str, str]:
    """(reasoning, content) of raw output; with thinking the output begins inside the reasoning."""
    if not thinking:
        return "", text
    reasoning, found, content = text.partition("</think>")
    return (reasoning, content) if found else (text, "")


def is_right(case: dict, content: str, calls: list[dict], finished: bool) -> bool:
    expect = case["expect"]
    if not finished:
        return False
    if "calls" in expect:
        return calls == expect["calls"]
    if calls:
        return False
    if "equals" in expect:
        return content.strip().rstrip(".") == expect["equals"].rstrip(".")
    return any(key.lower() in content.lower() for key in expect["contains"])


def print_table(results: list[tuple[str, bool]]) -> dict:
    groups = defaultdict(list)
    for group, right in results:
        groups[group].append(right)
    print(f"{'group':<28} {'right':>6} {'cases':>6} {'share':>8}")
    table = {}
    for group, rights in sorted(groups.items()):
        table[group] = {"right": sum(rights), "cases": len(rights)}
        print(f"{group:<28} {sum(rights):>6} {len(rights):>6} {sum(rights) / len(rights):>8.1%}")
    for total in ("gale", "tools"):
        rights = [right for group, right in results if group.startswith(total)]
        if rights:
            print(f"{'all of ' + total:<28} {sum(rights):>6} {len(rights):>6} {sum(rights) / len(rights):>8.1%}")
    return table
