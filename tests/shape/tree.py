"""The tree that the shape checks look at: the real one, or a small one that a test plants a violation in."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Tree:
    """Text files by their path from the root."""

    def __init__(self, files: dict[str, str]):
        self.files = files

    @staticmethod
    def of_checkout(root: Path = ROOT) -> "Tree":
        """What git tracks, and what it neither tracks nor ignores; files that are not UTF-8 count as empty."""
        listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
                                 check=True, capture_output=True, text=True).stdout
        files = {}
        for name in filter(None, listing.split("\0")):
            path = root / name
            if not path.is_file():
                continue
            try:
                files[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                files[name] = ""
        return Tree(files)

    def with_file(self, path: str, text: str) -> "Tree":
        return Tree({**self.files, path: text})

    def sources(self, *suffixes: str, under: str = "") -> dict[str, str]:
        return {path: text for path, text in self.files.items() if path.endswith(suffixes) and path.startswith(under)}
