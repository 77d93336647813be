"""What a server's /metrics says, as numbers by name."""

import time

from prometheus_client.parser import text_string_to_metric_families


def metrics_of(server):
    families = text_string_to_metric_families(server.get("/metrics").body.decode())
    return {
        sample.name: sample.value for family in families for sample in family.samples if "le" not in sample.labels
    }


def metrics_when(server, condition):
    """The metrics once they satisfy it: the engine tells its state a few times a second."""
    deadline = time.monotonic() + 120
    while not condition(metrics := metrics_of(server)):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)
    return metrics
