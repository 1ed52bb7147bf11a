"""Every fixed point of drawn almost-linear RNNs, proved complete: time by the number P of rectified units.

    python -m benchmarks.exact_fixed_points

Weights are Gaussian with gain g, so that spectral radii lie near g. Beside it stands one numpy solve of I - J for each
of the 2^P regions, timed on 2^12 of them and scaled up, which proves nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from analyses.symbols.exact_fixed_points import exact_fixed_points
from benchmarks._table import machine, table, timed, write_section
from hooks.families import PiecewiseLinear

SETTINGS = ((20, 12, 1.5), (20, 16, 1.5), (20, 20, 0.8), (20, 20, 1.5), (20, 20, 4.0), (100, 20, 2.0), (22, 22, 1.5))
SAMPLE = 1 << 12


def drawn(dim: int, relu: int, gain: float, seed: int = 0) -> PiecewiseLinear:
    """A uniform on [0, 1/2], W of spectral radius about the gain, h standard normal."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.rand(dim, generator=generator, dtype=torch.float64) / 2
    W = gain * torch.randn(dim, dim, generator=generator, dtype=torch.float64) / dim**0.5
    return PiecewiseLinear(A, W, torch.randn(dim, generator=generator, dtype=torch.float64), relu)


def solves(network: PiecewiseLinear) -> int:
    """Solve some regions one batch after another, as an exhaustive search does; how many were real."""
    A, W, h = (w.numpy() for w in (network.A, network.W, network.h))
    dim, cut = len(A), len(A) - network.relu
    real = 0
    for first in range(0, min(SAMPLE, 1 << network.relu), 1024):
        bits = (np.arange(first, first + 1024)[:, None] >> np.arange(network.relu)) & 1
        gates = np.concatenate([np.ones((1024, cut)), bits], axis=1)
        z = np.linalg.solve(np.eye(dim) - np.diag(A) - W * gates[:, None, :], h[None, :, None])[..., 0]
        real += int(((z[:, cut:] > 0) == bits).all(axis=1).sum())
    return real


def main() -> None:
    """Time both, print the table and write it to RESULTS.md."""
    torch.set_num_threads(1)
    header = ["dim", "P", "gain", "regions", "median of 3, s", "numpy solves, s, scaled", "points", "stable", "rational",
              "complete"]  # fmt: skip
    rows = []
    for dim, relu, gain in SETTINGS:
        network = drawn(dim, relu, gain)
        seconds, found = timed(lambda network=network: exact_fixed_points(network), times=3)
        theirs, _ = timed(lambda network=network: solves(network), times=1)
        theirs *= max(1.0, 2.0**relu / SAMPLE)
        rows.append(
            [str(dim), str(relu), str(gain), str(2**relu), f"{seconds:.2f}", f"{theirs:.1f}", str(len(found.points)),
             str(int(found.stable.sum())), str(found.decided_exactly), str(found.complete)]
        )  # fmt: skip
    text = f"{table(header, rows)}\n\nDrawn almost-linear RNNs, seed 0. {machine()}."
    print(text)
    write_section("Exact fixed points of piecewise-linear maps", text)


if __name__ == "__main__":
    main()
