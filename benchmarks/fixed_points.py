"""Fixed points of trained flip-flop GRUs: this toolkit beside mattgolub/fixed-point-finder, same networks, same starts.

    python -m benchmarks.fixed_points --peer PATH_TO_CHECKOUT [--units 16 64 256]

Prints the table; without the peer it has our rows alone, and RESULTS.md stays as it is. GRU-16 (3 bits) is the shipped one;
GRU-64 (4 bits) and GRU-256 (6 bits) are trained from a seed on the first run, which takes minutes, and kept in
benchmarks/trained. The peer's torch version runs with its defaults. Our time is to a verified set: search, index sum and
proofs. A point of the peer's is spurious when it is further than 1e-3 from the root that Newton's method finds from it, or
Newton's method finds none: it is held against the map, not against our list.
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
from safetensors.torch import load_file, save_file
from torch import nn

from analyses.maps._equations import fixed_point_equation, polished
from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.index import index_sum
from benchmarks._table import machine, table, timed, write_section
from case_studies._tasks import flip_flop
from case_studies._train import Reader, train
from case_studies.flip_flop_memory import shipped
from hooks.dynamics import Dynamics, rollout
from hooks.families import recurrent
from interp.progress import meter

STARTS, NOISE, NEAR = 1024, 0.5, 1e-3
TRAINED = Path(__file__).parent / "trained"
# units: (bits, runs, rounds of further starts, training recipe)
SIZES: dict[int, tuple[int, int, int, dict[str, float]]] = {
    16: (3, 5, 8, {}),
    64: (4, 3, 8, {"learning_rate": 1e-2}),
    256: (6, 1, 32, {"learning_rate": 3e-3}),
}
PEER_SETTINGS: dict[str, dict[str, Any]] = {
    "fixed-point-finder, defaults": {},
    "fixed-point-finder, lr_init 0.01, max_iters 10000": {"lr_init": 0.01, "max_iters": 10000},
}


def network(units: int) -> Reader:
    """The trained GRU of this size: shipped, kept from an earlier run, or trained now."""
    bits, _, _, recipe = SIZES[units]
    if units == 16:
        return shipped("GRU")
    path = TRAINED / f"flip_flop_gru_{units}.safetensors"
    if not path.exists():

        def make() -> nn.Module:
            return Reader(nn.GRU(bits, units, batch_first=True), bits)

        def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            return flip_flop(bits=bits, runs=128, steps=64, generator=generator, pulse=0.2)

        module, _ = train(make, draw, seed=0, updates=1500, goal=2e-4, watch=meter(f"training GRU-{units}"), **recipe)
        TRAINED.mkdir(exist_ok=True)
        save_file(module.state_dict(), path)
    module = Reader(nn.GRU(bits, units, batch_first=True), bits)
    module.load_state_dict(load_file(path))
    return module.eval().requires_grad_(False)


def starts_of(dynamics: Dynamics, bits: int) -> np.ndarray:
    """Visited states with noise, as the peer's example draws them."""
    generator = torch.Generator().manual_seed(0)
    inputs, _ = flip_flop(bits=bits, runs=64, steps=64, generator=generator)
    visited = rollout(dynamics, np.zeros((64, dynamics.dim)), drives=inputs).points()
    rows = torch.randint(len(visited), (STARTS,), generator=generator).numpy()
    noise = torch.randn(STARTS, dynamics.dim, generator=generator, dtype=torch.float64).numpy()
    return visited[rows] + NOISE * noise


def ours(held: Dynamics, starts: np.ndarray, runs: int, rounds: int) -> tuple[float, list[str], str]:
    """Seconds to the verified set, its row, and where the time goes."""
    search, found = timed(lambda: find_fixed_points(held, starts, rounds=rounds), times=runs)
    counting, index = timed(lambda: index_sum(held, found.points), times=runs)
    proving, proofs = timed(lambda: certify(held, found.points), times=runs)
    seconds = search + counting + proving
    outside = int((np.abs(found.points) > 1).any(axis=1).sum())
    row = [f"{seconds:.2f}", str(len(found.points)), str(int(proofs.proved.sum())), str(int((~proofs.proved).sum())),
           str(outside), str(index.total)]  # fmt: skip
    return seconds, row, f"search {search:.2f} s, index sum {counting:.2f} s, proofs {proving:.2f} s"


def theirs(held: Dynamics, points: np.ndarray) -> list[str]:
    """The peer's points, the real ones among them, the spurious ones, those outside the cube."""
    states = torch.as_tensor(points)
    rooted, residuals = polished(fixed_point_equation(held), states, box=None, steps=20)
    good = (residuals <= 1e-10) & ((rooted - states).norm(dim=1) <= NEAR) & (states.abs() <= 1).all(1)
    real = len(torch.unique(rooted[good].round(decimals=5), dim=0))
    outside = int((states.abs() > 1).any(1).sum())
    return [str(len(points)), str(real), str(int((~good).sum())), str(outside), "-"]


def peer_points(peer: Path, layer: torch.nn.GRU, starts: np.ndarray, **settings: Any) -> np.ndarray:
    """What the peer returns as unique fixed points; its prints are dropped."""
    sys.path.insert(0, str(peer))
    try:
        from FixedPointFinderTorch import FixedPointFinderTorch  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(peer))
    with contextlib.redirect_stdout(io.StringIO()):
        finder: Any = FixedPointFinderTorch(layer, verbose=False, super_verbose=False, **settings)
        unique, _ = finder.find_fixed_points(
            starts.astype(np.float32), np.zeros((1, layer.input_size), dtype=np.float32)
        )
    return np.asarray(unique.xstar, dtype=np.float64)


def main() -> None:
    """Run both, print the tables, and write them to RESULTS.md if the peer ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of mattgolub/fixed-point-finder")
    parser.add_argument("--units", type=int, nargs="*", default=list(SIZES), choices=list(SIZES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    compared = asked.peer is not None and (asked.peer / "FixedPointFinderTorch.py").exists()
    header = [
        "network",
        "tool",
        "median, s",
        "points returned",
        "real",
        "spurious",
        "outside the cube",
        "index sum",
        "ratio",
    ]
    rows, notes = [], []
    for units in asked.units:
        bits, runs, rounds, _ = SIZES[units]
        module = network(units)
        dynamics = recurrent(module.rnn)
        held, starts = dynamics.hold(np.zeros(bits)), starts_of(dynamics, bits)
        name = f"GRU-{units}, {bits} bits"
        seconds, row, profile = ours(held, starts, runs, rounds)
        rows.append([name, "this toolkit", *row, "1"])
        notes.append(f"{name}: {profile} (median of {runs}).")
        for peer_name, settings in PEER_SETTINGS.items() if compared else ():
            their_seconds, points = timed(
                lambda module=module, starts=starts, settings=settings: peer_points(
                    asked.peer, module.rnn, starts, **settings
                ),
                times=runs,
            )
            ratio = f"{their_seconds / seconds:.1f}"
            rows.append([name, peer_name, f"{their_seconds:.2f}", *theirs(held, points), ratio])
        print(f"{name}: done, {profile}", file=sys.stderr)
    missing = (
        "" if compared else " The peer was not run and RESULTS.md is left as it was: give its checkout with --peer."
    )
    text = f"{table(header, rows)}\n\n{' '.join(notes)} {STARTS} starts, zero input. {machine()}.{missing}"
    print(text)
    if compared:
        write_section("Fixed points of flip-flop GRUs", text)


if __name__ == "__main__":
    main()
