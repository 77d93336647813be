"""Random requests made from /openapi.json find no contradiction in it: part of ./check --full."""

import subprocess
import sys

from sdk import sdk


def test_random_requests_find_no_contradiction(server, tmp_path):
    sdk("schemathesis")
    run = subprocess.run([sys.executable, "-m", "schemathesis.cli", "run", server.base_url + "/openapi.json",
                          "--max-examples", "12", "--seed", "1",
                          "--checks",
                          "not_a_server_error,status_code_conformance,content_type_conformance,"
                          "response_schema_conformance",
                          "--exclude-path-regex", "streams|embeddings|pooling|classify|score|rerank", "--phases",
                          "examples,fuzzing", "--request-timeout", "60", "--no-color"],
                         capture_output=True, text=True, timeout=400, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
