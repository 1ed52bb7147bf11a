"""In how many pieces of time is a recording linear? Dynamic mode decomposition of each piece, and the error that is left.

The steps are cut into N blocks of equal length. In each, exact dynamic mode decomposition fits the one matrix A = Y X^+ that
takes its states to the next ones (all runs together, the pseudo-inverse cut at ``rank``), and A is iterated from the block's
first states. The error is |X - reconstruction| / |X| in the Frobenius norm over all blocks, as a function of N.

More pieces are more parameters, so the error falls with N for any recording. It is therefore given beside that of random walks
with the same increments' mean and covariance, and beside holding each block's first state, which has no parameters.

Source: Alla, Monti, Sgura, Computers and Mathematics with Applications 160, 108 (2024; arXiv 2303.06512); Tu, Rowley,
Luchtenburg, Brunton, Kutz, J. Comput. Dyn. 1, 391 (2014), exact DMD. Takes a Trajectory; costs one singular value decomposition
of each block for each count of pieces and each draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.surrogates import random_walk
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-12  # of the largest singular value: directions below are left out
Fit = tuple[np.ndarray, np.ndarray]  # the factors of a matrix


@dataclass(frozen=True, eq=False)
class PiecewiseDMD(Result):
    """What a linear map for each piece of time leaves.

    Attributes
    ----------
    pieces : (counts,)
        Numbers of pieces, ascending.
    errors, held : (counts,)
        Relative error of the reconstruction, and of holding the first state of each block.
    exact : (counts,)
        Blocks with no more pairs than the rank of their matrix, which are fitted whatever they hold.
    eigenvalues : (most pieces, largest rank)
        Of each block at the largest number of pieces, by modulus, padded with NaN.
    rank
        As asked for; 0 for no cut.
    nulls
        "random walk": log10 of the error at the largest number of pieces.
    checks
        Each block at the largest number of pieces begins at its own states.
    """

    pieces: Int64[np.ndarray, " counts"]
    errors: Float64[np.ndarray, " counts"]
    held: Float64[np.ndarray, " counts"]
    exact: Int64[np.ndarray, " counts"]
    eigenvalues: Complex128[np.ndarray, "blocks rank"]
    rank: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The errors at the fewest and the most pieces, beside holding still and random walks."""
        text = f"{counted(len(self.pieces), 'count')} of pieces: the error is {self.errors[0]:.3g} with {self.pieces[0]} and "
        text += (
            f"{self.errors[-1]:.3g} with {self.pieces[-1]}, where holding each first state leaves {self.held[-1]:.3g}"
        )
        for null in self.nulls:
            text += f" and random walks {10 ** null.draws.min():.3g} to {10 ** null.draws.max():.3g}"
            text += "" if null.beaten else ", so linear pieces are not shown"
        if self.exact[-1]:
            text += f"; {counted(int(self.exact[-1]), 'block')} of {self.pieces[-1]} too short to be anything but exact"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Errors against the number of pieces, holding still, and the random walks."""
        ax = axes_or_new(ax)
        ax.plot(self.pieces, np.maximum(self.errors, 1e-16), "o-", markersize=3, label="linear pieces")
        ax.plot(self.pieces, np.maximum(self.held, 1e-16), color="0.6", linewidth=1, label="held")
        for null in self.nulls:
            at = np.full(len(null.draws), self.pieces[-1])
            ax.plot(at, 10**null.draws, ".", color="0.7", markersize=3, label=null.name)
        ax.set(xlabel="pieces", ylabel="relative error", xscale="log", yscale="log")
        ax.legend(frameon=False, fontsize="small")
        return ax


def piecewise_dmd(
    trajectory: Trajectory,
    *,
    pieces: tuple[int, ...] = (1, 2, 4, 8, 16),
    rank: int = 0,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> PiecewiseDMD:
    """The error of one linear map for each piece of time, for several numbers of pieces.

    Parameters
    ----------
    trajectory
        Runs of one length, that are pieces of the same story: block b of every run is fitted together.
    pieces
        Numbers of blocks; each block needs two steps at least.
    rank
        Of each matrix; 0 keeps every direction above rounding.
    draws
        Of random walks, for the null; 19 for a level of 5 %.
    generator
        Of the walks; a fixed seed when left out.

    Raises
    ------
    InputError
        For runs of several lengths or none, a recording that is zero throughout, no numbers of pieces or such that a block
        would have fewer than two steps, or a negative rank or number of draws.
    """
    states = trajectory.states
    steps = states.shape[1]
    if not len(states) or not trajectory.valid.all():
        raise InputError("blocks of time need runs of one length: select or cut them")
    if not pieces or not 1 <= min(pieces) <= max(pieces) <= steps // 2:
        raise InputError(
            f"{steps} steps make 1 to {steps // 2} blocks of two steps or more, but pieces={tuple(pieces)} came"
        )
    if rank < 0 or draws < 0:
        raise InputError(f"rank and draws are not negative, but {rank=}, {draws=} came")
    if not states.any():
        raise InputError("every state is zero, so an error has no scale")
    counts = np.unique(np.array(pieces, dtype=np.int64))

    errors, held, exact = [], [], []
    for count in counts:
        blocks, fits, rebuilt = _reconstruction(states, int(count), rank)
        errors.append(_relative(blocks, rebuilt))
        held.append(_relative(blocks, [block[:, :1] for block in blocks]))
        exact.append(sum(len(right) >= block[:, 1:, 0].size for block, (_, right) in zip(blocks, fits, strict=True)))
    eigenvalues = [_eigenvalues(*fit) for fit in fits]
    padded = np.full((len(fits), max(map(len, eigenvalues))), np.nan, dtype=np.complex128)
    for row, values in zip(padded, eigenvalues, strict=True):
        row[: len(values)] = values

    generator = generator or torch.Generator().manual_seed(0)
    walks = (_reconstruction(random_walk(states, generator=generator), int(counts[-1]), rank) for _ in range(draws))
    drawn = np.array([_log10(_relative(parts, again)) for parts, _, again in walks])
    hypothesis = "increments are independent, of the recording's mean and covariance"
    gap = max(float(np.abs(block[:, 0] - again[:, 0]).max()) for block, again in zip(blocks, rebuilt, strict=True))
    return PiecewiseDMD(
        pieces=counts,
        errors=np.array(errors),
        held=np.array(held),
        exact=np.array(exact, dtype=np.int64),
        eigenvalues=padded,
        rank=rank,
        nulls=(Null("random walk", hypothesis, "recording", drawn, _log10(errors[-1])),) if draws else (),
        checks=(Check("largest error at the start of a block", 0.0, gap, 0.0),),
    )


def _reconstruction(states: np.ndarray, count: int, rank: int) -> tuple[list[np.ndarray], list[Fit], list[np.ndarray]]:
    """The blocks, their matrices, and what these make of the first states."""
    blocks = np.array_split(states, count, axis=1)
    fits = [_fitted(block, rank) for block in blocks]
    return blocks, fits, [_iterated(block, *fit) for block, fit in zip(blocks, fits, strict=True)]


def _fitted(block: np.ndarray, rank: int) -> Fit:
    """A = left @ right with right (rank, dim) orthonormal, from the pairs of a block (runs, steps, dim)."""
    X, Y = (half.reshape(-1, block.shape[2]) for half in (block[:, :-1], block[:, 1:]))
    U, S, W = np.linalg.svd(X, full_matrices=False)
    kept = int((SMALLEST * S[0] < S).sum()) if S[0] else 0
    kept = min(kept, rank) if rank else kept
    return Y.T @ (U[:, :kept] / S[:kept]), W[:kept]


def _iterated(block: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    states = [block[:, 0]]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(block.shape[1] - 1):
            states.append(states[-1] @ right.T @ left.T)
    return np.stack(states, axis=1)


def _eigenvalues(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    values = np.linalg.eigvals(right @ left).astype(np.complex128)
    return values[np.argsort(-np.abs(values), kind="stable")]


def _relative(blocks: list[np.ndarray], rebuilt: list[np.ndarray]) -> float:
    with np.errstate(over="ignore"):
        missed = sum(((block - again) ** 2).sum() for block, again in zip(blocks, rebuilt, strict=True))
    return float(np.sqrt(missed / sum((block**2).sum() for block in blocks)))


def _log10(error: float) -> float:
    return float(np.log10(max(error, 1e-16)))
