"""Scores a running server on eval/*.jsonl over /v1/chat/completions, greedily; needs nothing but Python.

    python models/train/eval_http.py --base-url http://127.0.0.1:8000 [--group gale] [--limit 50] [--show 10]

A server that does not yet split reasoning and tool calls off the text is scored by splitting the raw text here.
"""

import argparse
import json
import pathlib
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from scoring import is_right, parse_calls, print_table, split_reply

FOLDER = pathlib.Path(__file__).resolve().parent / "eval"


def post(url: str, body: dict, key: str) -> dict:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


def stated_calls(message: dict) -> list[dict]:
    return [{"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"] or "{}")}
            for call in message.get("tool_calls") or ()]


def ask(case: dict, options) -> tuple[bool, str]:
    """(whether the answer is right, what was answered)."""
    body = {"messages": case["messages"], "temperature": 0, "max_tokens": 256,
            "chat_template_kwargs": {"enable_thinking": case["thinking"]}}
    if case["tools"]:
        body["tools"] = case["tools"]
    if options.model:
        body["model"] = options.model
    try:
        choice = post(options.base_url.rstrip("/") + "/v1/chat/completions", body, options.api_key)["choices"][0]
    except urllib.error.HTTPError as error:
        return False, f"status {error.code}: {error.read()[:300].decode(errors='replace')}"
    message = choice["message"]
    content, calls = message.get("content") or "", stated_calls(message)
    if message.get("reasoning_content") is None and message.get("reasoning") is None and not calls:
        _, content = split_reply(content, case["thinking"]) if "</think>" in content else ("", content)
    if not calls:
        content, calls = parse_calls(content, case["tools"])
    finished = choice.get("finish_reason") in ("stop", "tool_calls")
    return is_right(case, content, calls, finished), json.dumps(message, ensure_ascii=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="", help="model name; the server's own by default")
    parser.add_argument("--group", default="", help="only groups that begin with this")
    parser.add_argument("--limit", type=int, default=0, help="at most this many cases, spread over all")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    options = parser.parse_args()
    cases = [json.loads(line) for file in sorted(FOLDER.glob("*.jsonl"))
             for line in file.read_text(encoding="utf-8").splitlines()]
    cases = [case for case in cases if case["group"].startswith(options.group)]
    if options.limit and options.limit < len(cases):
        cases = [cases[i * len(cases) // options.limit] for i in range(options.limit)]
    with ThreadPoolExecutor(options.parallel) as pool:
        answers = list(pool.map(lambda case: ask(case, options), cases))
    wrong = [(case, said) for case, (right, said) in zip(cases, answers) if not right]
    for case, said in wrong[:options.show]:
        print(f"- {case['group']}: {case['messages'][-1]['content'][-200:]!r}\n  wants "
              f"{json.dumps(case['expect'], ensure_ascii=False)[:300]}"
              f"\n  said  {said[:300]}")
    print_table([(case["group"], right) for case, (right, _) in zip(cases, answers)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
