"""Symbol words of a piecewise-linear map: its k-cycles as fixed points of one larger piecewise-linear map.

A word of k symbols, a symbol being the bits of one linear region, is a region of the map on k states at once: its fixed points
are the orbits x_(i+1) = F(x_i) with x_k = x_0. All that is proved of fixed points by regions so holds for cycles by words, and
nothing is amplified along the orbit, as it would be by products of k slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.symbols._census import ENTRIES, rounded
from analyses.symbols._rational import Equations, Kind
from analyses.symbols._regions import slopes, solutions
from hooks.errors import InputError
from hooks.families import PiecewiseLinear

RATIONAL = 128  # coordinates of an orbit; what float64 leaves open of longer ones stays so


@dataclass(frozen=True, eq=False)
class Listed:
    """Words of one length, none of them a rotation of another, with what is known of their closed orbits."""

    words: Bool[np.ndarray, "listed k relu"]
    points: Float[np.ndarray, "listed k dim"]
    radii: Float[np.ndarray, " listed"]
    border: Bool[np.ndarray, " listed"]
    real: Bool[np.ndarray, " listed"]
    proved: Bool[np.ndarray, " listed"]
    isolated: Bool[np.ndarray, " listed"]  # else the word has a continuum of closed orbits

    def only(self, rows: Bool[np.ndarray, " listed"]) -> Listed:
        """Some of the words."""
        return Listed(**{name: value[rows] for name, value in vars(self).items()})


def cyclic(network: PiecewiseLinear, k: int) -> PiecewiseLinear:
    """The network whose fixed points are the orbits of k states that close: A = 0, k relu rectified units in order of time.

    Its state holds x_0 .. x_(k-1) and a copy of each, whose rectified units come last; so every weight is one of the network's,
    unrounded: x_i = A x_(i-1) + W phi(copy of x_(i-1)) + h.
    """
    dim, cut = len(network.A), len(network.A) - network.relu
    half = k * dim
    unit = np.arange(half) % dim
    copies = torch.from_numpy(
        half + np.concatenate([np.flatnonzero(unit < cut), np.flatnonzero(unit >= cut)]).argsort()
    )
    W = network.W.new_zeros(2 * half, 2 * half)
    for i in range(k):
        now, before = slice(i * dim, (i + 1) * dim), slice((i - 1) % k * dim, ((i - 1) % k + 1) * dim)
        W[now, before] = torch.diag(network.A)
        W[now, copies[before]] = network.W
    W[copies, torch.arange(half)] = 1.0
    h = torch.cat([network.h.repeat(k), network.h.new_zeros(half)])
    return PiecewiseLinear(network.h.new_zeros(2 * half), W, h, k * network.relu)


def orbits(points: Float[np.ndarray, "found lifted"], k: int) -> Float[np.ndarray, "found k dim"]:
    """The states of cycles, from fixed points of ``cyclic``."""
    return points[:, : points.shape[1] // 2].reshape(len(points), k, points.shape[1] // (2 * k))


def necklaces(
    words: Bool[np.ndarray, "words k relu"],
) -> tuple[Bool[np.ndarray, "words k relu"], Int[np.ndarray, " words"]]:
    """The least rotation of each word, and the length of the shorter word that it repeats (k if it repeats none)."""
    count, k, relu = words.shape
    symbols, which = np.unique(words.reshape(count * k, relu), axis=0, return_inverse=True)
    word = which.reshape(count, k)
    least, length = word.copy(), np.full(count, k)
    rows = np.arange(count)
    for turn in range(1, k):
        rolled = np.roll(word, -turn, axis=1)
        differs = rolled != least
        first = differs.argmax(axis=1)
        smaller = differs.any(axis=1) & (rolled[rows, first] < least[rows, first])
        least[smaller] = rolled[smaller]
        if k % turn == 0:
            length[(length == k) & (rolled == word).all(axis=1)] = turn
    return symbols[least], length


def multipliers(network: PiecewiseLinear, words: Bool[np.ndarray, "words k relu"]) -> Complex[np.ndarray, "words dim"]:
    """Eigenvalues of the product of slopes along each word."""
    total = torch.eye(len(network.A)).to(network.A).expand(len(words), -1, -1)
    for symbols in torch.from_numpy(words).unbind(1):
        total = slopes(network, symbols) @ total
    return sorted_eigenvalues(total)


def closed(table: Tensor, base: Tensor, words: Bool[Tensor, "words bits"]) -> Float[Tensor, "words bits"]:
    """The rectified units on the closed orbit of each word's affine maps; not finite where it is not unique.

    ``table`` is T and t of ``root``: u = t + T w, w = u where the word differs from the base and 0 elsewhere.
    """
    differ = (words != base).to(table)[:, None, :]
    G = torch.eye(len(base)).to(table) - table[:, :-1] * differ
    return torch.linalg.solve_ex(G, table[:, -1:].expand(len(words), -1, -1)).result[..., 0]


def distinct(network: PiecewiseLinear, words: Sequence[Any]) -> list[Bool[np.ndarray, "words k relu"]]:
    """The words without repetitions and rotations, a group for each length, shortest first.

    Raises
    ------
    InputError
        For a word that is not (length, relu) bits.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for given in words:
        word = np.asarray(given)
        if word.ndim != 2 or not len(word) or word.shape[1] != network.relu or not np.isin(word, (0, 1)).all():
            raise InputError(
                f"a word is (length, {network.relu}) bits, one row a step, but {word.dtype} {word.shape} came"
            )
        least, length = necklaces(word[None].astype(bool))
        groups.setdefault(int(length[0]), []).append(least[0, : length[0]])
    return [np.unique(np.stack(group), axis=0) for _, group in sorted(groups.items())]


def solved(network: PiecewiseLinear, words: Bool[np.ndarray, "words k relu"]) -> Listed:
    """The closed orbit of each word's affine maps, and whether its signs are the word: by bounds, then exactly where cheap."""
    count, k, relu = words.shape
    lifted = cyclic(network, k)
    cut = len(lifted.A) - lifted.relu
    equations = cache(lambda: Equations.of(lifted))
    bits = torch.from_numpy(words.reshape(count, k * relu))
    balls = [solutions(lifted, part) for part in bits.split(max(1, ENTRIES // len(lifted.A) ** 2))]
    mid, rad = torch.cat([ball.mid for ball in balls]), torch.cat([ball.rad for ball in balls])
    low, high = (mid - rad)[:, cut:], (mid + rad)[:, cut:]
    proved_real = torch.where(bits, low > 0, high <= 0).all(1).numpy()
    proved = proved_real | torch.where(bits, high <= 0, low > 0).any(1).numpy()
    points, radii = mid.numpy(), rad.amax(1).numpy()
    points[~np.isfinite(points).all(axis=1)] = np.nan
    real = np.where(proved, proved_real, ((mid[:, cut:] > 0) == bits).all(1).numpy())
    border, isolated = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    for row in np.flatnonzero(~proved) if k * len(network.A) <= RATIONAL else ():
        decision = equations().region(bits[row].numpy())
        real[row], proved[row], isolated[row] = decision.kind is Kind.POINT, True, decision.kind is not Kind.CONTINUUM
        if real[row]:
            points[row], radii[row] = rounded(decision.point)
            border[row] = 0 in decision.point[cut:]
        elif not np.isfinite(radii[row]):
            points[row] = np.nan
    return Listed(words, orbits(points, k), radii, border, real, proved, isolated)
