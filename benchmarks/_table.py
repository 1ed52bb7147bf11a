"""Timing and the page that the benchmarks write."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")
RESULTS = Path(__file__).parent / "RESULTS.md"


def timed(work: Callable[[], T], *, times: int = 5) -> tuple[float, T]:
    """Median wall time of the work in seconds, and its last answer."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        answer = work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds), answer


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """What the figures were taken on."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )


def write_section(title: str, text: str) -> None:
    """Replace the section of this title in RESULTS.md, or add it."""
    page = (
        RESULTS.read_text()
        if RESULTS.exists()
        else "# Benchmarks\n\nWritten by `make bench`; medians of several runs.\n"
    )
    head, *sections = page.split("\n## ")
    kept = [section for section in sections if section.split("\n", 1)[0] != title]
    RESULTS.write_text("\n## ".join([head.rstrip() + "\n", *kept, f"{title}\n\n{text.rstrip()}\n"]))
