#!/usr/bin/env python3
"""Renders the rows of perf/rows.json with their newest figures of perf/ledger.jsonl into perf/README.md.

    python3 tools/perf_table.py [--check]

--check writes nothing and ends with 1 if the table is not what the ledger says. rows.json holds what is asked: bound,
must and aim of a row's own metric (milliseconds are better small, tokens a second large), the peer's figures, and
gap_p99_must_ms where a row promises gaps; null where nothing is asked. A row that was never measured says so."""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BEGIN = "<!-- rows: tools/perf_table.py -->\n"
END = "<!-- end of rows -->\n"
MODELS = {"9b": "9B", "flash": "Flash", "46v": "4.6V"}
COLUMNS = (
    *("model", "users", "figure", "share of bound", "peer", "must", "aim"),
    *("TTFT mean / P99 ms (peer)", "gap P99 ms", "commit"),
)
HEAD = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|\n"


def read_rows():
    return json.loads((ROOT / "perf/rows.json").read_text(encoding="utf-8"))


def parse_ledger(text):
    return [json.loads(line) for line in text.splitlines()]


def read_ledger():
    return parse_ledger((ROOT / "perf/ledger.jsonl").read_text(encoding="utf-8"))


def belongs(line, row):
    """Whether a line of the ledger is a figure of this row. Random lengths and uneven routers are other
    measurements, and one that is known to be wrong (`void` says why) is none."""
    keys = ("model", "precision", "users", "input", "output")
    is_row = all(line.get(key) == row[key] for key in keys) and row["card"] in line["device"]
    return is_row and not line.keys() & {"range_ratio", "routing", "void"}


def newest_figures(row, ledger):
    """Every metric of the newest run of a row, and its commit; ({}, None) if there is none."""
    lines = [line for line in ledger if belongs(line, row)]
    if not lines:
        return {}, None
    commit = lines[-1]["commit"]
    return {line["metric"]: line["value"] for line in lines if line["commit"] == commit}, commit


def is_time(metric):
    return metric.endswith("_ms")


def is_met(metric, value, wanted):
    return value <= wanted if is_time(metric) else value >= wanted


def show(metric, value):
    if value is None:
        return "–"
    return f"{value:.2f} ms" if is_time(metric) else f"{value:,.0f} {'total ' if 'total' in metric else ''}tok/s"


def verdict(metric, value, wanted):
    if wanted is None:
        return "–"
    sign = "≤" if is_time(metric) else "≥"
    if value is None:
        return f"{sign} {show(metric, wanted)}"
    return f"{sign} {show(metric, wanted)}: {'met' if is_met(metric, value, wanted) else '**missed**'}"


def gap(row, figures):
    value, wanted = figures.get("itl_p99_ms"), row.get("gap_p99_must_ms")
    shown = "–" if value is None else f"{value:.0f}"
    if wanted is None:
        return shown
    return shown + f" (≤ {wanted}" + (")" if value is None else ": met)" if value <= wanted else ": **missed**)")


def render_row(row, figures, commit):
    metric, peer = row["metric"], row.get("peer", {})
    value = figures.get(metric)
    share = "–"
    if value is not None and row["bound"]:
        share = f"{100 * (row['bound'] / value if is_time(metric) else value / row['bound']):.0f} %"
    ttft = "–"
    if value is not None:
        ttft = f"{figures['ttft_mean_ms']:.0f} / {figures['ttft_p99_ms']:.0f}"
    if peer:
        ttft += f" ({peer['ttft_mean_ms']} / {peer['ttft_p99_ms']})"
    lengths = "" if (row["input"], row["output"]) == (1024, 512) else f", {row['input']} in / {row['output']} out"
    cells = [
        f"{MODELS[row['model']]} {row['precision']}, {row['card']}{lengths}",
        row["users"],
        "not measured" if value is None else show(metric, value),
        share,
        show(metric, peer.get(metric)),
        verdict(metric, value, row["must"]),
        verdict(metric, value, row["aim"]),
        ttft,
        gap(row, figures),
        commit or "–",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def render(rows, ledger):
    return HEAD + "".join(render_row(row, *newest_figures(row, ledger)) for row in rows)


def with_table(text, table):
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"perf/README.md: no lines '{BEGIN.strip()}' and '{END.strip()}'")
    return before + BEGIN + table + END + after


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    readme = ROOT / "perf/README.md"
    text = readme.read_text(encoding="utf-8")
    wanted = with_table(text, render(read_rows(), read_ledger()))
    if options.check:
        return 0 if text == wanted else 1
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
