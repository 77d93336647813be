"""Random requests made from /openapi.json find no contradiction in it: part of ./check --full."""

from random_requests import random_requests
from sdk import sdk


def test_random_requests_find_no_contradiction(binary, tmp_path):
    sdk("schemathesis")
    phases = ("examples", "coverage", "fuzzing", "stateful")
    num_requests = random_requests(binary, tmp_path, num_examples=20, phases=phases, timeout=3000)
    print(f"{num_requests} random requests")
    assert num_requests > 2500
