"""Do networks move alike, whatever coordinates they move in? Dynamical similarity analysis (DSA), of any number of them.

Windows of ``delays`` successive states, less their mean, are brought to their leading ``rank`` principal directions, each of
unit variance over the windows (those of a Hankel matrix, as in ``havok``); least squares gives the operator A of one step
there. Two networks are |A - C B C'| apart, Frobenius, at the best orthogonal C. Where no direction is cut off, A is the same,
up to C, for all invertible linear changes of a network's coordinates, since the directions have unit variance; else for
rotations, shifts and scale. The signs of principal directions are arbitrary, so that rotations alone, SO(n), would mean
nothing here.

The best C is sought (``_conjugation``), so a distance is what was reached; where the way over a third network is shorter, the
search begins again from the C of that way. Beside it stands a bound that no C beats, and the 2-Wasserstein distance of the
eigenvalues, which knows how modes turn and decay, and not how they lean on each other.

Two records of one network are never at distance 0. So each network's runs (or pieces, where it has fewer than ten) are dealt
into two halves, again and again: its distance from itself. Beside these stands the distance between networks at the same
number of runs, one half of each. Networks that share their inputs may move alike because of these; DSA does not tell that
apart.

Source: Ostrow, Eisen, Kozachkov, Fiete, NeurIPS 2023 (arXiv 2306.10168), with Levenberg-Marquardt in the place of gradient
descent. Takes Trajectories; costs one singular value decomposition of the windows each, and for each pair and each dealing
(restarts + 2) searches with O(rank^6) a step: a second or so for a hundred pairs at rank 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from analyses._distances import longest_detour, plot_matrix
from analyses.result import Check, Null, Outcome, Result, counted
from analyses.trajectories._conjugation import conjugation_bounds, conjugations, eigenvalue_distances
from analyses.trajectories._eigenpairs import Pairs, moments_of, units_of
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-10  # of the largest singular value: directions below are rounding
FLOOR = 1e-10  # variance of a direction in half of the runs, of 1 in all of them
CHUNK = 64  # pairs between two looks at the watch


@dataclass(frozen=True, eq=False)
class DynamicalSimilarity(Result):
    """Networks by the operators of their windows.

    Attributes
    ----------
    names
        Of the networks, in the order they came.
    operators : (networks, rank, rank)
        One step, in directions of unit variance; NaN for a network with too little data.
    distances : (networks, networks)
        |A - C B C'| at the best C that was found, so from above.
    bounds : (networks, networks)
        From below: no C gives less.
    eigenvalue_distances : (networks, networks)
        2-Wasserstein, each eigenvalue of mass 1; of normal operators the same as ``distances``.
    predicted : (networks,)
        Share of the directions' variance one step later that the operator explains.
    captured : (networks,)
        Share of the windows' variance in the directions kept.
    halves : (networks, networks)
        Distances of half of each one's runs from half of the other's; on the diagonal, from its own other half, median.
    within : (networks, draws)
        Distances of the halves of each network's runs, dealt anew.
    rank, delays
        Directions kept, the same for all: at most those above rounding in every network that has any; states of a window.
    settled
        Share of the searches for C that converged.
    outcome
        TOO_SHORT when fewer than two networks have data; OUT_OF_TIME when stopped early (NaN where nothing was compared).
    nulls
        "halves": the mean distance within networks, for that between them.
    checks
        No distance is below its bound, or longer than a detour over a third network.
    """

    names: tuple[str, ...]
    operators: Float[np.ndarray, "networks rank rank"]
    distances: Float[np.ndarray, "networks networks"]
    bounds: Float[np.ndarray, "networks networks"]
    eigenvalue_distances: Float[np.ndarray, "networks networks"]
    predicted: Float[np.ndarray, " networks"]
    captured: Float[np.ndarray, " networks"]
    halves: Float[np.ndarray, "networks networks"]
    within: Float[np.ndarray, "networks draws"]
    rank: int
    delays: int
    settled: float
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def angles(self) -> np.ndarray:
        """(networks, networks) angle between A and C B C' in radians: the distance that does not see their sizes."""
        sizes = np.linalg.norm(self.operators, axis=(1, 2))
        product = (sizes[:, None] ** 2 + sizes**2 - self.distances**2) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.arccos(np.clip(product / (sizes[:, None] * sizes), -1, 1))

    @property
    def differ(self) -> np.ndarray:
        """(networks, networks) bool: whether half of the one is further from half of the other than 95 % of the halves of
        either are from each other. With 190 pairs, some ten would be by chance."""
        count = len(self.names)
        if not self.within.shape[1]:
            return np.zeros((count, count), dtype=bool)
        pooled = np.concatenate(
            np.broadcast_arrays(self.within[:, None], self.within[None]), axis=2
        )  # (networks, networks, 2 draws)
        return (self.halves > np.quantile(pooled, 0.95, axis=2)) & ~np.eye(count, dtype=bool)

    def summary(self) -> str:
        """How many networks were compared, how far apart they are, from above and below, and beside their own halves."""
        has = np.isfinite(self.operators).all(axis=(1, 2))
        text = f"{int(has.sum())} of {counted(len(has), 'network')} compared"
        if self.outcome is Outcome.TOO_SHORT:
            return (
                f"{text}: fewer than two have data enough for an operator of {counted(self.delays, 'state')} a window"
            )
        upper = np.triu_indices(len(has), 1)
        apart = self.distances[upper]
        if not np.isfinite(apart).any():
            return f"{text}: the comparison {self.outcome.value} before the first pair"
        lowest, highest = 100 * np.nanmin(self.predicted), 100 * np.nanmax(self.predicted)
        text += f" by rank-{self.rank} operators of {counted(self.delays, 'state')} a window, which explain {lowest:.0f} to "
        text += f"{highest:.0f} % of one step: median distance {np.nanmedian(apart):.3g} ({np.nanmin(apart):.2g} to "
        text += f"{np.nanmax(apart):.2g}), no change of coordinates brings it below {np.nanmedian(self.bounds[upper]):.3g}; "
        text += f"that of eigenvalues {np.nanmedian(self.eigenvalue_distances[upper]):.3g}"
        for null in self.nulls:
            text += f"; at half the runs {null.observed:.3g} between networks, {np.median(null.draws):.3g} within"
            beyond = null.beaten and null.observed > np.median(null.draws)
            text += (
                f" ({int(self.differ[upper].sum())} of {counted(len(apart), 'pair')} beyond 95 % of it)"
                if beyond
                else ", so no difference is shown"
            )
        if self.settled < 1:
            text += f"; {100 * (1 - self.settled):.0f} % of the searches for a change of coordinates had not settled"
        if self.outcome is Outcome.OUT_OF_TIME:
            text += f"; it {self.outcome.value}, so {int(np.isnan(apart).sum())} of {len(apart)} pairs are missing"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The matrix of distances."""
        return plot_matrix(self.distances, self.names, "distance |A - C B C'|", ax)


def dynamical_similarity(
    trajectories: Sequence[Trajectory],
    *,
    names: Sequence[str] = (),
    delays: int = 5,
    rank: int = 10,
    restarts: int = 3,
    draws: int = 19,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> DynamicalSimilarity:
    """How far apart networks are as linear operators of their recorded windows, whatever their coordinates.

    Parameters
    ----------
    trajectories
        One a network; widths may differ. Runs shorter than ``delays`` + 1 give no pair of windows.
    names
        Of the networks; N1, N2, ... when left out.
    delays, rank
        States of a window; directions kept, fewer where a network has fewer above rounding.
    restarts
        Random starts of each search for the best C, beside that from eigenvectors and a guess.
    draws
        Dealings of each network's runs into halves; 0 for none, 19 for a level of 5 %.
    generator
        Of restarts and dealings; a fixed seed when left out.
    watch
        Wraps the comparisons.

    Raises
    ------
    InputError
        For names that do not fit, or options out of range.
    """
    count = len(trajectories)
    names = tuple(names) or tuple(f"N{number + 1}" for number in range(count))
    if len(names) != count:
        raise InputError(f"{count} trajectories need as many names, but {len(names)} came")
    if not (delays >= 1 and rank >= 1 and restarts >= 0 and draws >= 0):
        raise InputError(
            f"delays and rank are at least 1, restarts and draws not negative, but {delays=}, {rank=}, {restarts=}, "
            f"{draws=} came"
        )
    generator = generator or torch.Generator().manual_seed(0)
    windows = [_windows(trajectory, delays) for trajectory in trajectories]
    bases = [_directions(one, rank) for one in windows]
    own = np.flatnonzero([basis.shape[1] > 0 for basis in bases])
    rank = min((bases[number].shape[1] for number in own), default=0)

    operators = np.full((count, rank, rank), np.nan)
    dealt = np.full((count, draws + 1, 2, rank, rank), np.nan)  # of both halves, the first dealing for ``halves``
    predicted, captured = np.full(count, np.nan), np.full(count, np.nan)
    for number in own:
        moments, captured[number] = _moments(windows[number], bases[number][:, :rank])
        operators[number], predicted[number] = _operator(moments.sum(axis=0))
        for dealing in range(draws + 1):
            first = torch.randperm(len(moments), generator=generator).numpy() % 2 == 0
            for side, units in enumerate((first, ~first)):
                dealt[number, dealing, side] = _operator(moments[units].sum(axis=0))[0]

    places = np.triu_indices(len(own), 1)
    left, right = (own[side] for side in places)
    search = partial(_searched, restarts=restarts, generator=generator, watch=watch)
    apart, C, settled = search(operators[left], operators[right], np.eye(rank))
    late = len(own) > 1 and bool(np.isnan(apart).any())
    if not late:
        apart, C = _without_detours(operators[own], apart, C, generator)
    halves_apart, within = np.full(len(left), np.nan), np.full((count, draws), np.nan)
    if draws and len(own) > 1 and not late:
        parts = dealt[own, 1:].reshape(len(own) * draws, 2, rank, rank)
        one, other = (np.concatenate([dealt[pair, 0, side], parts[:, side]]) for side, pair in ((0, left), (1, right)))
        guess = np.concatenate([C, np.broadcast_to(np.eye(rank), parts[:, 0].shape)])
        found, _, more = search(one, other, guess)
        halves_apart, within[own] = found[: len(left)], found[len(left) :].reshape(len(own), draws)
        late, settled = bool(np.isnan(found).any()), np.concatenate([settled, more])

    def matrix(values: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
        square = np.full((count, count), np.nan)
        square[own, own] = diagonal
        square[left, right] = square[right, left] = values
        return square

    zero = np.zeros(len(own))
    distances = matrix(apart, zero)
    bounds = conjugation_bounds(operators[left], operators[right])
    values = [np.linalg.eigvals(operators[side]) for side in (left, right)]
    nulls: tuple[Null, ...] = ()
    if draws and len(own) > 1 and not late:
        hypothesis = "the networks are one, in other coordinates"
        nulls = (Null("halves", hypothesis, "run", within[own].mean(axis=0), float(halves_apart.mean())),)
    below = float(np.nanmax(bounds - apart, initial=0.0))
    return DynamicalSimilarity(
        names=names, operators=operators, distances=distances, bounds=matrix(bounds, zero),
        eigenvalue_distances=matrix(eigenvalue_distances(*values), zero), predicted=predicted, captured=captured,
        halves=matrix(halves_apart, np.median(within[own], axis=1) if draws else np.full(len(own), np.nan)),
        within=within, rank=rank, delays=delays, settled=float(settled.mean()) if len(settled) else np.nan,
        outcome=Outcome.TOO_SHORT if len(own) < 2 else Outcome.OUT_OF_TIME if late else Outcome.CONVERGED,
        nulls=nulls,
        checks=(
            Check("largest excess of a bound over its distance", 0.0, below, 1e-8 * max(rank, 1)),
            Check("longest excess of a distance over a detour", 0.0, longest_detour(distances), 1e-6 * max(rank, 1)),
        ),
    )  # fmt: skip


def _windows(trajectory: Trajectory, delays: int) -> Trajectory | None:
    """Windows of successive states as states; None where no run has two."""
    assert trajectory.lengths is not None
    long = trajectory.lengths > delays
    if not long.any():
        return None
    states = np.lib.stride_tricks.sliding_window_view(trajectory.states[long], delays, axis=1)
    return Trajectory(states.reshape(*states.shape[:2], -1), trajectory.clock, trajectory.lengths[long] - delays + 1)


def _directions(windows: Trajectory | None, rank: int) -> np.ndarray:
    """(width, kept) leading principal directions of the windows that are followed by another, each over its deviation; none
    where nothing moves, or with fewer than two windows for each."""
    if windows is None:
        return np.zeros((0, 0))
    now = windows.pairs()[0]
    centred = now - now.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    kept = min(rank, int((sizes > SMALLEST * max(sizes[0], np.abs(now).max() * np.sqrt(now.size))).sum()))
    kept = kept if len(now) >= 2 * kept else 0
    return axes[:kept].T / sizes[:kept] * np.sqrt(len(now))


def _moments(windows: Trajectory | None, basis: np.ndarray) -> tuple[np.ndarray, float]:
    """Sums of products now and one step later, for each unit of runs; and the share of the windows' variance that is kept."""
    assert windows is not None
    now, after = windows.pairs()
    mean = now.mean(axis=0)
    variances = 1 / (basis**2).sum(axis=0)
    kept = float(variances.sum() / ((now - mean) ** 2).sum(axis=1).mean())
    return moments_of(Pairs((now - mean) @ basis, (after - mean) @ basis, units_of(windows))), kept


def _operator(sums: np.ndarray) -> tuple[np.ndarray, float]:
    """The step in directions of unit variance over these pairs, and the share of the variance after it that it explains."""
    G, X, L = sums / sums[0, 0, 0]
    spread = G[1:, 1:] - np.outer(G[0, 1:], G[0, 1:])
    cross = X[1:, 1:] - np.outer(G[0, 1:], X[0, 1:])
    after = L[1:, 1:] - np.outer(L[0, 1:], L[0, 1:])
    values, vectors = np.linalg.eigh(spread)
    white = vectors / np.sqrt(np.maximum(values, FLOOR)) @ vectors.T
    step = white @ cross.T @ white
    return step, float(np.trace(cross.T @ white @ white @ cross) / max(np.trace(after), FLOOR))


def _searched(
    A: np.ndarray, B: np.ndarray, guess: np.ndarray, *, restarts: int, generator: torch.Generator, watch: Watch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, the C there, and whether each search settled; NaN distances of pairs that were not reached in time."""
    first = np.broadcast_to(guess, A.shape)
    apart, C, settled = np.full(len(A), np.nan), first.copy(), np.zeros(len(A), dtype=bool)
    for part, found in watch(_parts(A, B, first, restarts, generator), -(-len(A) // CHUNK)):
        apart[part], C[part], settled[part] = found
    return apart, C, settled[np.isfinite(apart)]


def _parts(
    A: np.ndarray, B: np.ndarray, guess: np.ndarray, restarts: int, generator: torch.Generator
) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    for first in range(0, len(A), CHUNK):
        part = slice(first, first + CHUNK)
        yield part, conjugations(A[part], B[part], guess[part], starts=restarts, generator=generator)


def _without_detours(
    operators: np.ndarray, apart: np.ndarray, C: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Searches that ended in a poor minimum, as a way over a third network shows, begun again from that way."""
    left, right = np.triu_indices(len(operators), 1)
    for _ in range(len(operators)):
        square, turns = np.zeros((len(operators),) * 2), np.zeros((len(operators),) * 2 + C.shape[1:])
        square[left, right] = square[right, left] = apart
        turns[left, right], turns[right, left] = C, C.swapaxes(1, 2)
        ways = square[left] + square[right]  # over each network; the two themselves give the distance again
        over = ways.argmin(axis=1) if len(left) else left
        longer = np.flatnonzero(apart > ways[np.arange(len(left)), over] + 1e-9)
        if not len(longer):
            break
        i, j, k = left[longer], right[longer], over[longer]
        found, turned, _ = conjugations(
            operators[i], operators[j], turns[i, k] @ turns[k, j], starts=0, generator=generator
        )
        better = found < apart[longer]
        apart[longer[better]], C[longer[better]] = found[better], turned[better]
        if not better.any():
            break
    return apart, C
