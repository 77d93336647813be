"""A card that is a folder, for tests/gpu/fake_card: what it is, who holds its memory, an nvidia-smi that shows it."""

import os
from pathlib import Path

NVIDIA_SMI = """#!/bin/sh
# Understands --query-gpu=name|memory.total|memory.used,… --format=csv,noheader,nounits of the card $GALE_FAKE_CARD.
name=$(sed -n 's/^name //p' "$GALE_FAKE_CARD/card")
total=$(sed -n 's/^total_mib //p' "$GALE_FAKE_CARD/card")
used=0
for file in "$GALE_FAKE_CARD"/held/[0-9]*; do
  [ -d "/proc/${file##*/}" ] && used=$((used + $(cat "$file") / 1048576))
done
for word in "$@"; do
  case $word in
    --query-gpu=name*) echo "$name" ;;
    --query-gpu=memory.total*) echo "$total" ;;
    --query-gpu=memory.used*) echo "$used" ;;
  esac
done
"""


class FakeCard:
    """`environment` is what a program needs to see it. Facts: name, total_mib, capability, driver, has_kernels,
    init_error, launch_ns, wrong_kernel."""

    def __init__(self, folder, **facts):
        self.folder = Path(folder)
        (self.folder / "held").mkdir(parents=True)
        (self.folder / "bin").mkdir()
        smi = self.folder / "bin/nvidia-smi"
        smi.write_text(NVIDIA_SMI)
        smi.chmod(0o755)
        facts = {"name": "NVIDIA H100 80GB HBM3", "total_mib": 81559, **facts}
        (self.folder / "card").write_text("".join(f"{name} {value}\n" for name, value in facts.items()))
        self.environment = {**os.environ, "GALE_FAKE_CARD": str(self.folder)}
        self.environment["PATH"] = f"{self.folder / 'bin'}:{self.environment['PATH']}"

    def hold(self, num_bytes):
        """So many bytes belong to another process that lives: this one."""
        (self.folder / "held" / str(os.getpid())).write_text(str(num_bytes))
