"""What does recording cost? Twelve sites of the residual stream, in memory and into a store, beside TransformerLens.

    python -m benchmarks.capture [--folder DISK]

A GPT-2 of 12 blocks, 256 wide, with drawn weights reads 8 batches of 16 texts of 128 tokens. Each side takes its turn in every
round; ratios are medians over the rounds, to the bare pass of the same round: other work on the machine meets all alike. The
bare pass is the body without its head, cache or gradients. TransformerLens runs the whole model, so its own bare call stands
beside it. Streaming counts from nothing until the last chunk has been synced to disk and its end read back, and not the removal
of the store. Peak memory is that of a process of its
own, above what stood before; what is recorded in memory is kept a batch at a time.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks._table import machine, resident, table, write_section
from hooks.capture import capture
from hooks.fill_store import begin_store, fill_store
from hooks.stack import stack_of

BLOCKS, WIDTH, HEADS, VOCABULARY = 12, 256, 4, 1000
BATCHES, TEXTS, STEPS = 8, 16, 128
ROUNDS = 7
SITES = tuple(f"blocks.{k}.resid_post" for k in range(BLOCKS))
BARE, LENS_BARE = "bare forward pass", "TransformerLens, bare"


def network() -> Any:
    """The model, with its head, in float32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=BLOCKS, n_embd=WIDTH, n_head=HEADS, vocab_size=VOCABULARY, n_positions=STEPS, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval().requires_grad_(False)


def sides() -> dict[str, Callable[[Path], Any]]:
    """Name -> one round of it in an empty folder, which returns what the last batch left at each site: (texts, steps, unit)."""
    model = network()
    stack = stack_of(model)
    texts = torch.randint(VOCABULARY, (BATCHES * TEXTS, STEPS), generator=torch.Generator().manual_seed(0))
    batches = texts.split(TEXTS)

    def bare(_: Path) -> None:
        for batch in batches:
            stack.run(batch)

    def recorded(_: Path) -> dict[str, torch.Tensor]:
        for batch in batches:
            with capture(model, SITES, places=stack.residual_sites) as tape:
                stack.run(batch)
        return dict(tape)

    def streamed(folder: Path, *, dtype: torch.dtype) -> dict[str, np.ndarray]:
        store = begin_store(folder / "a.zarr", stack, texts, sites=SITES, dtype=dtype, batch_tokens=TEXTS * STEPS)
        fill_store(store, stack, texts)
        assert store.committed.all()
        return {site: store.read(site)[-TEXTS * STEPS :].values.reshape(TEXTS, STEPS, -1) for site in SITES}

    @cache
    def bridge() -> Any:
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        twin = copy.deepcopy(model)
        return build_bridge_from_module(twin, type(twin).__name__, hf_config=twin.config)

    def lens_bare(_: Path) -> None:
        for batch in batches:
            bridge()(batch, return_type=None)

    def lens(_: Path) -> dict[str, torch.Tensor]:
        names = [f"blocks.{k}.hook_resid_post" for k in range(BLOCKS)]
        for batch in batches:
            _, kept = bridge().run_with_cache(batch, names_filter=names, return_type=None)
        return {site: kept[name] for site, name in zip(SITES, names, strict=True)}

    return {
        BARE: bare,
        "in memory": recorded,
        "to disk, float32": partial(streamed, dtype=torch.float32),
        "to disk, bfloat16": partial(streamed, dtype=torch.bfloat16),
        LENS_BARE: lens_bare,
        "TransformerLens, run_with_cache": lens,
    }


def memory(name: str, folder: Path) -> float:
    """Peak resident memory of a side above what stood before, in MiB; in a process of its own."""
    work = sides()
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        work[LENS_BARE if name.startswith("TransformerLens") else BARE](
            Path(inside)
        )  # the set-up of a first use is not counted
        before = resident("VmRSS")
        work[name](Path(inside))
    return (resident("VmHWM") - before) / 2**20


def timed(one: Callable[[Path], Any], folder: Path) -> tuple[Any, float, float]:
    """What a side recorded, and the seconds on the clock and of the processor that it took."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        began, began_cpu = time.perf_counter(), time.process_time()
        found = one(Path(inside))
        return found, time.perf_counter() - began, time.process_time() - began_cpu


def main() -> None:
    """Time all sides in turn, print the table and write it to RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that stores go to")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory", help="the side whose peak memory is printed, and nothing else done")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if asked.memory:
        print(f"{memory(asked.memory, asked.folder):.0f}")
        return
    work = sides()
    found = {name: timed(one, asked.folder)[0] for name, one in work.items()}
    wall: dict[str, list[float]] = {name: [] for name in work}
    cpu: dict[str, list[float]] = {name: [] for name in work}
    for number in range(asked.rounds):
        for name in np.roll(list(work), number):
            _, seconds, cpu_seconds = timed(work[name], asked.folder)
            wall[name].append(seconds)
            cpu[name].append(cpu_seconds)
        print(f"round {number + 1} of {asked.rounds}", file=sys.stderr)

    rows = []
    for name in work:
        ratios = [
            f"{median(a / b for a, b in zip(times[name], times[BARE], strict=True)):.2f}" for times in (wall, cpu)
        ]
        lens = median(a / b for a, b in zip(wall[name], wall[LENS_BARE], strict=True))
        apart = "-" if found[name] is None else f"{farthest(found[name], found['in memory']):.0e}"
        command = [sys.executable, "-m", "benchmarks.capture", "--memory", name, "--folder", str(asked.folder)]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        rows.append([name, f"{median(wall[name]):.2f}", *ratios, f"{lens:.2f}", peak, apart])
    header = ["recording", "median, s", "ratio", "ratio of CPU time", "ratio to TransformerLens, bare", "peak, MiB",
              "farthest from ours in memory"]  # fmt: skip
    size = BATCHES * TEXTS * STEPS * BLOCKS * WIDTH * 4 / 2**20
    text = (
        f"{table(header, rows)}\n\nGPT-2 of {BLOCKS} blocks, {WIDTH} wide; {BATCHES} batches of {TEXTS} x {STEPS} tokens, "
        f"{size:.0f} MiB of states in float32; medians of {asked.rounds} rounds, load average {os.getloadavg()[1]:.0f}. "
        f"{machine()}."
    )
    print(text)
    write_section("Recording the residual stream", text)


def farthest(found: Any, expected: Any) -> float:
    """The largest difference at any site."""
    return max(float(np.abs(np.asarray(found[site]) - np.asarray(expected[site])).max()) for site in SITES)


if __name__ == "__main__":
    main()
