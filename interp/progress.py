"""Watches: iterator wrappers that show progress or stop a long loop early."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from hooks.watch import Watch

PATIENCE = 2.0  # seconds before a loop is worth a line


def meter(title: str, *, stream: IO[str] | None = None) -> Watch:
    """Show the title, how far the loop is and the time left, on stderr; silent when that is not a terminal."""

    def watch(states: Iterable[Any], total: int) -> Iterator[Any]:
        out = stream or sys.stderr
        if not out.isatty():
            yield from states
            return
        begin = shown = time.monotonic()
        drawn = False
        for number, state in enumerate(states, 1):
            yield state
            now = time.monotonic()
            if now - begin > PATIENCE and now - shown > 0.2:
                left = (now - begin) * (total - number) / number
                out.write(f"\r\x1b[2K{title}: {number} of {total}, {left:.0f} s left at most")
                out.flush()
                shown, drawn = now, True
        if drawn:
            out.write("\r\x1b[2K")
            out.flush()

    return watch


def within_budget(seconds: float) -> Watch:
    """Stop the loops it watches once they have taken this long together; what they have by then is what they return.

    Each loop takes one step at least.
    """
    begin: list[float] = []

    def watch(states: Iterable[Any], total: int) -> Iterator[Any]:
        begin.append(time.monotonic())
        for state in states:
            yield state
            if time.monotonic() - begin[0] > seconds:
                return

    return watch
