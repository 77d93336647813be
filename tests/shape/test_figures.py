"""perf/README.md shows what perf/ledger.jsonl says."""

import copy
import sys

from tree import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import perf_bound  # noqa: E402
import perf_table  # noqa: E402

METRICS = ("output_tok_s", "total_tok_s", "tpot_mean_ms", "ttft_mean_ms", "ttft_p99_ms", "itl_p99_ms")


def run_of(row, commit, value):
    """The ledger's lines of one run of a row in which every metric has the same value."""
    common = {key: row[key] for key in ("model", "precision", "users", "input", "output")}
    return [
        common | {"commit": commit, "device": f"NVIDIA {row['card']}", "metric": metric, "value": value}
        for metric in METRICS
    ]


def test_the_table_is_the_ledgers():
    text = (ROOT / "perf/README.md").read_text(encoding="utf-8")
    table = perf_table.render(perf_table.read_rows(), perf_table.read_ledger())
    assert perf_table.with_table(text, table) == text, "run tools/perf_table.py"


def test_every_row_has_what_the_table_needs():
    for row in perf_table.read_rows():
        assert row["model"] in perf_table.MODELS and row["metric"] in METRICS, row
        asks_nothing = row["must"] is None and row["aim"] is None and "peer" not in row
        assert row["must"] or (asks_nothing and row["card"] == "H200"), row


def test_bounds_are_those_of_a_perfect_machine():
    """Those given with the peer's figures come of another program; at 1,024 users it counts more arithmetic."""
    for row in perf_table.read_rows():
        share = row["bound"] / perf_bound.bound_of(row)
        assert abs(share - 1) < (0.11 if row["users"] == 1024 else 0.04), (row, share)


def test_the_newest_run_counts_and_is_held_against_what_is_asked():
    row = next(row for row in perf_table.read_rows() if row["metric"] == "output_tok_s" and row["aim"])
    old, new = run_of(row, "aaaaaaa", row["must"] - 1), run_of(row, "bbbbbbb", row["must"])
    assert "not measured" in perf_table.render([row], [])
    assert ": **missed**" in perf_table.render([row], old)
    table = perf_table.render([row], old + new)
    assert "bbbbbbb" in table and "aaaaaaa" not in table and ": met" in table
    time = copy.deepcopy(row) | {"metric": "tpot_mean_ms", "must": 5.0}
    assert ": met" in perf_table.render([time], run_of(time, "a", 4.9))
    assert "≤ 5.00 ms: **missed**" in perf_table.render([time], run_of(time, "a", 5.1))


def test_other_lengths_cards_and_random_lengths_are_other_rows():
    row = perf_table.read_rows()[0]
    run = run_of(row, "a", 1.0)
    assert perf_table.newest_figures(row, run)[1] == "a"
    others = (
        {"input": 8192},
        {"device": "NVIDIA A100"},
        {"range_ratio": 0.5},
        {"routing": "zipf"},
        {"precision": "int4"},
        {"void": "wrong"},
    )
    for other in others:
        assert perf_table.newest_figures(row, [line | other for line in run]) == ({}, None)
