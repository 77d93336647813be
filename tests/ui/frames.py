"""How much the page's main thread computes for each frame, out of a trace.

Time of the thread's own, not of the clock: what other programs take from a busy machine does not count."""

import bisect
from collections import Counter

SCRIPTING = {
    "FunctionCall",
    "TimerFire",
    "EvaluateScript",
    "RunMicrotasks",
    "EventDispatch",
    "FireAnimationFrame",
    "MinorGC",
    "MajorGC",
}
RENDERING = {"Layout", "UpdateLayoutTree", "Paint", "PrePaint", "Layerize", "Commit", "HitTest", "ParseHTML"}


def scripting_ms(events):
    """Milliseconds of scripting before each frame, sorted. What scripts make the browser lay out is not scripting."""
    calls = Counter((one["pid"], one["tid"]) for one in events if one.get("name") == "FunctionCall")
    main = calls.most_common(1)[0][0]
    mine = [one for one in events if one.get("ph") == "X" and (one["pid"], one["tid"]) == main and "tts" in one]
    frames = sorted(one["tts"] for one in mine if one["name"] == "Commit")
    assert len(frames) > 10, "no frames in the trace"
    spent = [0.0] * (len(frames) + 1)

    def note(name, begin, end):
        if name in SCRIPTING:
            spent[bisect.bisect(frames, begin)] += (end - begin) / 1000

    open_events = []  # [name, noted up to, end], innermost last
    for one in sorted(
        (one for one in mine if one["name"] in SCRIPTING | RENDERING),
        key=lambda one: (one["tts"], -one.get("tdur", 0)),
    ):
        begin, end = one["tts"], one["tts"] + one.get("tdur", 0)
        while open_events and open_events[-1][2] <= begin:
            name, upto, closed = open_events.pop()
            note(name, upto, closed)
            if open_events:
                open_events[-1][1] = closed
        if open_events:
            note(open_events[-1][0], open_events[-1][1], begin)
            end = min(end, open_events[-1][2])
        open_events.append([one["name"], begin, end])
    while open_events:
        name, upto, closed = open_events.pop()
        note(name, upto, closed)
        if open_events:
            open_events[-1][1] = closed
    return sorted(spent)


def percentile(values, percent):
    return values[min(len(values) - 1, len(values) * percent // 100)]
