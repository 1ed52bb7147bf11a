"""Fixed points of a trained flip-flop GRU: this toolkit beside mattgolub/fixed-point-finder, same network, same starts.

    python -m benchmarks.fixed_points --peer PATH_TO_CHECKOUT

Prints the table; without the peer it has our row alone, and RESULTS.md stays as it is.
The peer's torch version runs with its defaults. Our time is to a complete verified set: search, index sum and proofs. A
point of the peer's is counted as spurious when it lies further than 1e-3 from every proved fixed point.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.maps.certificates import Certificates, certify
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.index import IndexSum, index_sum
from benchmarks._table import machine, table, timed, write_section
from case_studies._tasks import flip_flop
from case_studies.flip_flop_memory import BITS, UNITS, shipped
from hooks.dynamics import Dynamics, rollout
from hooks.families import recurrent

STARTS, NOISE, NEAR = 1024, 0.5, 1e-3
PEER_SETTINGS: dict[str, dict[str, Any]] = {
    "fixed-point-finder, defaults": {},
    "fixed-point-finder, lr_init 0.01, max_iters 10000": {"lr_init": 0.01, "max_iters": 10000},
}


def verified(dynamics: Dynamics, starts: np.ndarray) -> tuple[FixedPoints, IndexSum, Certificates]:
    """The complete verified set."""
    found = find_fixed_points(dynamics, starts)
    return found, index_sum(dynamics, found.points), certify(dynamics, found.points)


def peer_points(peer: Path, layer: torch.nn.GRU, starts: np.ndarray, **settings: Any) -> np.ndarray:
    """What the peer returns as unique fixed points; its prints are dropped."""
    sys.path.insert(0, str(peer))
    try:
        from FixedPointFinderTorch import FixedPointFinderTorch  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(peer))
    with contextlib.redirect_stdout(io.StringIO()):
        finder: Any = FixedPointFinderTorch(layer, verbose=False, super_verbose=False, **settings)
        unique, _ = finder.find_fixed_points(starts.astype(np.float32), np.zeros((1, BITS), dtype=np.float32))
    return np.asarray(unique.xstar, dtype=np.float64)


def main() -> None:
    """Run both, print the table, and write it to RESULTS.md if the peer ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of mattgolub/fixed-point-finder")
    peer = parser.parse_args().peer
    torch.set_num_threads(1)

    module = shipped("GRU")
    dynamics = recurrent(module.rnn)
    generator = torch.Generator().manual_seed(0)
    inputs, _ = flip_flop(bits=BITS, runs=64, steps=64, generator=generator)
    visited = rollout(dynamics, np.zeros((64, UNITS)), drives=inputs).points()
    rows = torch.randint(len(visited), (STARTS,), generator=generator).numpy()
    starts = visited[rows] + NOISE * torch.randn(STARTS, UNITS, generator=generator, dtype=torch.float64).numpy()
    held = dynamics.hold(np.zeros(BITS))

    seconds, (found, index, proofs) = timed(lambda: verified(held, starts))
    header = [
        "tool",
        "median of 5, s",
        "points returned",
        "real",
        "spurious",
        "outside [-1, 1]^16",
        "index sum",
        "proved",
    ]
    table_rows = [
        ["this toolkit", f"{seconds:.2f}", str(len(found.points)), str(int(proofs.proved.sum())),
         str(int((~proofs.proved).sum())), str(int((np.abs(found.points) > 1).any(axis=1).sum())), str(index.total),
         str(int(proofs.proved.sum()))],
    ]  # fmt: skip
    compared = peer is not None and (peer / "FixedPointFinderTorch.py").exists()
    if not compared:
        closing = "The peer was not run and RESULTS.md is left as it was: give the peer's checkout with --peer."
    else:
        ratios = []
        for name, settings in PEER_SETTINGS.items():
            their_seconds, theirs = timed(lambda settings=settings: peer_points(peer, module.rnn, starts, **settings))
            gaps = np.linalg.norm(theirs[:, None] - found.points[None], axis=2)
            real = len(set(gaps.argmin(axis=1)[gaps.min(axis=1) < NEAR].tolist()))
            spurious = int((gaps.min(axis=1) >= NEAR).sum())
            outside = int((np.abs(theirs) > 1).any(axis=1).sum())
            table_rows.append(
                [name, f"{their_seconds:.2f}", str(len(theirs)), str(real), str(spurious), str(outside), "-", "-"]
            )
            ratios.append(f"{their_seconds / seconds:.1f}")
        closing = f"Ratios of the medians to ours: {', '.join(ratios)}."
    text = f"{table(header, table_rows)}\n\n{closing} {STARTS} starts, shipped GRU-16, zero input. {machine()}."
    print(text)
    if compared:
        write_section("Fixed points of a flip-flop GRU", text)


if __name__ == "__main__":
    main()
