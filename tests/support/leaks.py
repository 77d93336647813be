"""What the body of an error may never show: a path of this machine, an address, a source file, a stack."""

import re

LEAK = re.compile(
    r"/(?:home|root|usr|var|tmp|opt|proc|etc|work|src)/|\b0x[0-9a-fA-F]{6,}|\b[\w/]+\.(?:cpp|h|cc|hpp)\b"
    r"|\bstd::|terminate called|\b(?:\d{1,3}\.){3}\d{1,3}\b|#\d+ +\w+|Traceback|Sanitizer"
)


def leak_in(text):
    """What leaks in it; None: nothing."""
    found = LEAK.search(text)
    return found and found[0]
