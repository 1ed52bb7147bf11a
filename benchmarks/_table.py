"""Timing, memory and the page that the benchmarks write."""

from __future__ import annotations

import platform
import time
import tracemalloc
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


def resident(which: str) -> int:
    """Bytes of memory of this process (Linux): "VmRSS" now, "VmHWM" at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def allocated(work: Callable[[], object]) -> float:
    """Peak of what the work allocates in Python and numpy, in MiB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


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
