"""Logs of --log-format json: each line an object with what all lines have."""

import datetime
import json

KINDS = {"time": str, "level": str, "role": str, "pid": int, "message": str}


def read_lines(text):
    """Every line as an object; fails on anything else that got into the log."""
    lines = []
    for line in text.split("\n")[:-1]:
        assert "\x1b" not in line and "\r" not in line
        entry = json.loads(line)
        assert {name: type(entry.get(name)) for name in KINDS} == KINDS, line
        assert entry["level"] in ("debug", "info", "warning", "error")
        assert datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).tzinfo
        lines.append(entry)
    assert text.endswith("\n") or not text, "the last line has no end"
    return lines
