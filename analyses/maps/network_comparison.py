"""Which networks are the same up to coordinates? Distances between networks by where they rest, what they repeat, and how.

Any continuous change of coordinates keeps how many fixed points and cycles there are, with their periods and numbers of
unstable directions; a smooth one keeps the eigenvalues at each as well. So there are two distances. Of the counts: the sum
over periods and numbers of unstable directions of how many one network has more than the other; 0 where no count tells them
apart. Of the eigenvalues: a network is the multiset of its orbits, an orbit its period and the multiset of its eigenvalues,
and both are matched as well as can be (Hungarian),

    between orbits of one period     d(x, y)^2 = min over matchings of the sum of chi(l_i, m_s(i))^2
    between networks                 D(X, Y)^2 = min over partial matchings of the sum of d(x, y)^2 over pairs,
                                                 and of price(x)^2 over orbits without a partner

chi(l, m) = |l - m| / sqrt((1 + |l|^2) (1 + |m|^2)) is the chordal distance on the Riemann sphere: bounded by 1, the unit
circle its equator, attraction and repulsion alike. A unit that forgets at once has eigenvalue 0, so the spectra of smaller
networks are filled up with zeros. The price of an orbit is min over i of chi(l_i, 1), how far its spectrum is from one with an
eigenvalue 1: by the implicit function theorem an orbit can appear or vanish only there. So D changes continuously along any
family of maps whose orbits stay bounded, through folds, flips and the other bifurcations, and satisfies the triangle
inequality: what distance to the diagonal is to persistence diagrams (Cohen-Steiner, Edelsbrunner, Harer, Found. Comput. Math.
10, 127 (2010)).

The distance of eigenvalues over stable orbits alone tells what a network can remember, whatever lies between its memories; it
jumps where an orbit loses stability, as do the counts. What the searches have not found is not compared: the index sums say
where something is missing.

Takes results of ``fixed_points``, ``cycles`` and ``lyapunov``, one of each a network; costs a matching of eigenvalues for each
two orbits of one period that lie near enough to be partners, O(networks^2 orbits^2 dim^3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from analyses._distances import longest_detour, plot_matrix
from analyses.maps._verdicts import FLOOR
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.result import Check, Outcome, Result, counted
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = (
    "network", "units", "fixed points, by unstable directions", "cycles", "starts converged", "index sums hold",
    "largest exponent", "mean distance",
)  # fmt: skip
SAME = 1e-6  # of distances: what searches to rounding leave between copies


@dataclass(frozen=True, eq=False)
class NetworkComparison(Result):
    """Networks by their fixed points and cycles.

    Attributes
    ----------
    names
        Of the networks, in the order they came.
    count_distances : (networks, networks)
        Orbits of each period and number of unstable directions that one has and the other has not.
    distances : (networks, networks)
        D, by eigenvalues, over all orbits.
    attractor_distances : (networks, networks)
        D over stable orbits.
    unmatched : (networks, networks)
        Orbits of both that have no partner in the matching of ``distances``.
    fixed_points, cycles : (networks, directions + 1)
        How many with 0, 1, 2, ... unstable directions.
    converged : (networks,)
        Share of the starts of each search for fixed points that converged.
    complete
        For each network whether its index sums say that nothing is missing: "yes", "no", or "" where none was taken.
    exponents, errors : (networks,)
        The largest exponent of the attractor where most starts end, with its standard error; NaN where none was given.
    dims
        Coordinates of each network.
    compared
        Eigenvalues of each orbit that were compared: all, or the leading ones that are known of every network.
    outcome
        OUT_OF_TIME when it was stopped early (NaN where nothing was compared), or a search or a run that it takes was.
    checks
        No distance is longer than a detour over a third network.
    """

    names: tuple[str, ...]
    count_distances: Float[np.ndarray, "networks networks"]
    distances: Float[np.ndarray, "networks networks"]
    attractor_distances: Float[np.ndarray, "networks networks"]
    unmatched: Int[np.ndarray, "networks networks"]
    fixed_points: Int[np.ndarray, "networks directions"]
    cycles: Int[np.ndarray, "networks directions"]
    converged: Float[np.ndarray, " networks"]
    complete: tuple[str, ...]
    exponents: Float[np.ndarray, " networks"]
    errors: Float[np.ndarray, " networks"]
    dims: tuple[int, ...]
    compared: int
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def lines(self) -> tuple[tuple[str, ...], ...]:
        """The stability portrait of each network, a row of words each, under ``HEADER``."""

        def by_direction(counts: np.ndarray) -> str:
            with_some = [
                f"{n} with {unstable}" if unstable else f"{n} stable" for unstable, n in enumerate(counts) if n
            ]
            return ", ".join(with_some) or "none"

        rows = []
        for number, name in enumerate(self.names):
            others = np.delete(self.distances[number], number)
            grown = self.exponents[number]
            rows.append((
                name, str(self.dims[number]), by_direction(self.fixed_points[number]), by_direction(self.cycles[number]),
                f"{self.converged[number]:.0%}", self.complete[number] or "not known",
                "–" if np.isnan(grown) else f"{grown:+.3g} ± {max(self.errors[number], FLOOR):.1g}",
                f"{np.mean(others):.3g}" if len(others) else "–",
            ))  # fmt: skip
        return tuple(rows)

    def summary(self) -> str:
        """How many networks, how far apart, and how many portraits their counts make."""
        count = len(self.names)
        if count < 2:
            return f"{counted(count, 'network')}, so nothing to compare"
        upper = np.triu_indices(count, 1)
        apart, stable = self.distances[upper], self.attractor_distances[upper]
        done = int(np.isfinite(apart).sum())
        text = f"{done} of {counted(len(apart), 'pair')} of {count} networks compared"
        if self.outcome is Outcome.OUT_OF_TIME:
            text += f", though the comparison or a search {self.outcome.value}"
        if not done:
            return text
        kinds, most = len(np.unique(self.count_distances, axis=0)), self.count_distances.max()
        text += f": by numbers of orbits with 0, 1, 2, ... unstable directions they are of {counted(kinds, 'kind')}"
        text += f", at most {counted(int(most), 'orbit')} apart" if most else ""
        text += f"; by eigenvalues the median distance is {np.nanmedian(apart):.3g} ("
        text += (
            f"{np.nanmin(apart):.2g} to {np.nanmax(apart):.2g}), over stable orbits alone {np.nanmedian(stable):.3g} ("
        )
        text += f"{np.nanmin(stable):.2g} to {np.nanmax(stable):.2g})"
        if same := int((apart < SAME).sum()):
            text += f"; {counted(same, 'pair')} below {SAME:.0e}, as copies in other coordinates are"
        text += f"; the index sums hold for {self.complete.count('yes')} of {count}"
        if self.compared < max(self.dims):
            text += f"; {self.compared} leading eigenvalues were compared"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The matrix of distances over all orbits."""
        return plot_matrix(self.distances, self.names, "distance of eigenvalues", ax)


@dataclass(frozen=True, eq=False)
class _Orbits:
    """Of one network: the eigenvalues of every orbit, its period, price, and number of unstable directions."""

    values: np.ndarray
    periods: np.ndarray
    prices: np.ndarray
    stable: np.ndarray
    unstable: np.ndarray


def compare_networks(
    points: Sequence[FixedPoints],
    *,
    cycles: Sequence[Cycles] = (),
    spectra: Sequence[LyapunovSpectrum] = (),
    names: Sequence[str] = (),
    watch: Watch = quiet,
) -> NetworkComparison:
    """Distances between networks that no change of coordinates alters.

    Parameters
    ----------
    points
        Fixed points of each network, searched in one way: of one clock, and under one drive.
    cycles, spectra
        Of the same networks, all of the same periods; both may be left out.
    names
        N1, N2, ... when left out.
    watch
        Wraps the pairs.

    Raises
    ------
    InputError
        For lists of other lengths, or cycles that were searched at other periods.

    Notes
    -----
    A missing eigenvalue (NaN) counts as 0.
    """
    count = len(points)
    names = tuple(names) or tuple(f"N{number + 1}" for number in range(count))
    given = {"names": len(names), "cycles": len(cycles) or count, "spectra": len(spectra) or count}
    if wrong := [f"{number} {name}" for name, number in given.items() if number != count]:
        raise InputError(f"{counted(count, 'network')} came with {', '.join(wrong)}: give one of each a network")
    searched = {one.searched for one in cycles}
    if len(searched) > 1:
        raise InputError(f"cycles of one list of periods can be compared, but {sorted(searched)} were searched")

    dims = tuple(one.points.shape[1] for one in points)
    found: list[FixedPoints | Cycles] = [*points, *cycles]
    widths = [one.eigenvalues.shape[1] for one in found]
    cut = any(one.eigenvalues.shape[1] < one.points.shape[-1] for one in found)
    compared = (min(widths) if cut else max(widths)) if widths else 0
    orbits = [_orbits(points[i], cycles[i] if cycles else None, compared) for i in range(count)]

    distances = np.full((count, count), np.nan)
    np.fill_diagonal(distances, 0.0)
    attractor_distances, unmatched = distances.copy(), np.zeros((count, count), dtype=np.int64)
    for i, j, apart, alone, stable in watch(_pairs(orbits), count * (count - 1) // 2):
        distances[i, j] = distances[j, i] = apart
        attractor_distances[i, j] = attractor_distances[j, i] = stable
        unmatched[i, j] = unmatched[j, i] = alone

    late = np.isnan(distances).any() or any(Outcome.OUT_OF_TIME in one.outcomes for one in points)
    ends = [one.outcome for one in cycles] + [one.outcome for one in spectra]
    late = late or Outcome.OUT_OF_TIME in ends
    leading = np.full((2, count), np.nan)
    for number, spectrum in enumerate(spectra):
        if len(spectrum.exponents):
            leading[:, number] = spectrum.exponents[0, 0], spectrum.standard_errors[0, 0]
    most = max((int(_unstable(one).max(initial=0)) for one in found), default=0)
    return NetworkComparison(
        names=names, count_distances=_counts_apart(orbits), distances=distances, attractor_distances=attractor_distances,
        unmatched=unmatched,
        fixed_points=_by_direction(points, count, most), cycles=_by_direction(cycles, count, most),
        converged=np.array([one.outcomes.count(Outcome.CONVERGED) / max(1, len(one.outcomes)) for one in points]),
        complete=tuple(_complete(points[i], cycles[i] if cycles else None) for i in range(count)),
        exponents=leading[0], errors=leading[1],
        dims=dims, compared=compared, outcome=Outcome.OUT_OF_TIME if late else Outcome.CONVERGED,
        checks=(Check("longest excess of a distance over a detour", 0.0, longest_detour(distances), 1e-9),),
    )  # fmt: skip


def _orbits(points: FixedPoints, cycles: Cycles | None, compared: int) -> _Orbits:
    found: list[tuple[FixedPoints | Cycles, np.ndarray]] = [(points, np.ones(len(points.points), dtype=np.int64))]
    found += [] if cycles is None else [(cycles, cycles.periods)]
    values = np.concatenate([np.nan_to_num(_wide(one.eigenvalues, compared)) for one, _ in found])
    periods = np.concatenate([own for _, own in found])
    stable = np.concatenate([one.stable for one, _ in found])
    unstable = np.concatenate([_unstable(one) for one, _ in found])
    return _Orbits(values, periods, _chordal(values, np.ones(1)).min(axis=1, initial=1.0), stable, unstable)


def _counts_apart(orbits: list[_Orbits]) -> np.ndarray:
    """(networks, networks) sums over periods and numbers of unstable directions of the differences of counts."""
    kinds = np.concatenate(
        [np.zeros((0, 2), dtype=np.int64), *(np.stack([o.periods, o.unstable], axis=1) for o in orbits)]
    )
    owners = np.repeat(np.arange(len(orbits)), [len(o.periods) for o in orbits])
    which = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
    counts = np.zeros((len(orbits), int(which.max(initial=-1)) + 1))
    np.add.at(counts, (owners, which), 1)
    return np.abs(counts[:, None] - counts).sum(axis=2)


def _wide(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values[:, :width], ((0, 0), (0, max(0, width - values.shape[1]))))


def _chordal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one - other) / (np.hypot(1, np.abs(one)) * np.hypot(1, np.abs(other)))


def _pairs(orbits: list[_Orbits]) -> Iterator[tuple[int, int, float, int, float]]:
    for i, one in enumerate(orbits):
        for j, other in enumerate(orbits[:i]):
            squares = _squares(one, other)
            apart, alone = _matched(squares, one.prices**2, other.prices**2)
            rows, columns = one.stable, other.stable
            stable, _ = _matched(squares[np.ix_(rows, columns)], one.prices[rows] ** 2, other.prices[columns] ** 2)
            yield i, j, apart, alone, stable


def _squares(one: _Orbits, other: _Orbits) -> np.ndarray:
    """(orbits, orbits) d^2; infinite where periods differ, or where their distances from the zero spectrum show that they are
    no partners."""
    squares = np.full((len(one.values), len(other.values)), np.inf)
    sizes = [np.sqrt((_chordal(orbits.values, np.zeros(1)) ** 2).sum(axis=1)) for orbits in (one, other)]
    near = (sizes[0][:, None] - sizes[1]) ** 2 < one.prices[:, None] ** 2 + other.prices**2
    for x, y in np.argwhere(near & (one.periods[:, None] == other.periods)):
        cost = _chordal(one.values[x][:, None], other.values[y]) ** 2
        squares[x, y] = cost[linear_sum_assignment(cost)].sum()
    return squares


def _matched(squares: np.ndarray, own: np.ndarray, others: np.ndarray) -> tuple[float, int]:
    """The distance, and how many orbits have no partner, by the squares of distances and of prices."""
    saved = np.maximum(own[:, None] + others - squares, 0.0)  # by making partners of two
    rows, columns = linear_sum_assignment(saved, maximize=True)
    partners = saved[rows, columns] > 0
    rows, columns = rows[partners], columns[partners]
    total = squares[rows, columns].sum() + np.delete(own, rows).sum() + np.delete(others, columns).sum()
    return float(np.sqrt(total)), len(own) + len(others) - 2 * len(rows)


def _by_direction(found: Sequence[FixedPoints | Cycles], count: int, most: int) -> np.ndarray:
    """(networks, most + 1) counts of orbits by their number of unstable directions."""
    counts = np.zeros((count, most + 1), dtype=np.int64)
    for number, one in enumerate(found):
        counts[number] = np.bincount(_unstable(one), minlength=most + 1)
    return counts


def _unstable(found: FixedPoints | Cycles) -> np.ndarray:
    """How many directions of each orbit are unstable."""
    return (np.abs(found.eigenvalues) > 1).sum(axis=1)


def _complete(points: FixedPoints, cycles: Cycles | None) -> str:
    sums = [
        check
        for one in (points, cycles)
        if one is not None
        for check in one.checks
        if check.name.startswith("index sum")
    ]
    return ("yes" if all(check.passed for check in sums) else "no") if sums else ""
