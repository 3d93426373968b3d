"""One line on a terminal that says what is being done; elsewhere nothing, so that a log holds results alone."""

from __future__ import annotations

import sys


def progress(text: str) -> None:
    """Show a text in place of the last one; an empty one clears the line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
