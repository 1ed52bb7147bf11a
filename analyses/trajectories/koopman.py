"""Which eigenvalues of a map can be read from its recorded states, and which are an artefact of the observables chosen?

A map F acts linearly on functions of the state, (K g)(x) = g(F(x)). Extended dynamic mode decomposition restricts K to the
span of a dictionary and finds as many eigenpairs as there are observables, whether or not the span is invariant. Each is
therefore given its residual, as in residual dynamic mode decomposition:

    residual(lambda, g)^2 = mean |g(next) - lambda g(now)|^2 / variance of g(now)
                          = g* (L - lambda A* - conj(lambda) A + |lambda|^2 G) g / variance,

with G, A, L the means of now* now, now* next and next* next over the pairs. This variant: observables are scaled to unit
variance and made orthonormal by a singular value decomposition, cut at ``rank_tolerance``, so that the residual on the fitted
pairs is taken from the differences themselves and is exact to rounding; the constant function, of eigenvalue 1 for every map,
is divided out; the variance stands for the mean square, since next to eigenvalue 1 any function plus a large constant has a
small residual by the mean square. A finite sample can be fitted exactly by enough observables, so an eigenpair is *verified*
only where the residual on runs that were not fitted (from G, A and L, so not below 1e-8) is within the tolerance as well;
otherwise it is *spurious*.

A residual of r says that g stays coherent for about 1 / r steps. For a map with continuous spectrum this holds of every number
on the unit circle once the dictionary is rich enough, so the number is no proof that K has an eigenvalue there. Steps that are
short beside the motion lower every residual, since nothing changes much: of cubic monomials on the Lorenz attractor the
smallest is 0.01 in steps of 0.002 and 0.7 in steps of 0.5. Read states about as far apart as the motion takes.

Source: Williams, Kevrekidis, Rowley, J. Nonlinear Sci. 25, 1307 (2015), EDMD; Colbrook, Townsend, Commun. Pure Appl. Math. 77,
221 (2024; arXiv 2111.14889), ResDMD. Takes a Trajectory; with M pairs and N observables it costs O(M N^2) for the fit and each
draw of the null, and N^3 for each fold and bag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Complex128, Float64

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.trajectories._dictionaries import Coordinates, Dictionary, Gaussians, Harmonics, Monomials
from analyses.trajectories._eigenpairs import (
    Eigenpairs,
    Pairs,
    differences,
    eigenpairs,
    intervals_of,
    moments_of,
    residuals_held_out,
    residuals_of,
    units_of,
)
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Coordinates", "Dictionary", "Gaussians", "Harmonics", "KoopmanSpectrum", "Monomials", "koopman_spectrum"]


@dataclass(frozen=True, eq=False)
class KoopmanSpectrum(Result):
    """Eigenpairs of one step in the span of a dictionary, each with its residual; smallest residual first.

    Attributes
    ----------
    eigenvalues : (found,)
        Of the non-trivial eigenpairs: the constant function is divided out.
    residuals, held_out : (found,)
        On the fitted pairs, and the root mean square over folds of runs, each left out of the fit that it judges.
    verified : (found,) bool
        Whether both are within the tolerance. The others are spurious.
    intervals : (found, 2, 2)
        Modulus and angle, from the 5 % to the 95 % quantile over bags of runs.
    coefficients, offsets : (observables, found), (found,)
        ``dictionary(states) @ coefficients + offsets`` are the eigenfunctions, of unit variance over the states.
    modes : (found, dim)
        The share of each eigenfunction in each coordinate: a state is its mean plus the sum of eigenfunctions times modes.
    state_share
        Share of the states' variance in the span; 0 where the states do not vary.
    tolerance, dictionary
        As asked for.
    pairs, units
        Pairs of states, and the runs or pieces of runs that are resampled.
    outcome
        TOO_SHORT with fewer pairs than two for each observable.
    nulls
        "shuffled pairs": how many eigenpairs are verified when every state is followed by any other.
    checks
        |K g|^2 = |lambda|^2 |g|^2 + |K g - lambda g|^2, since the error is orthogonal to the span; and the residuals from G, A
        and L are those from the differences.
    """

    eigenvalues: Complex128[np.ndarray, " found"]
    residuals: Float64[np.ndarray, " found"]
    held_out: Float64[np.ndarray, " found"]
    verified: Bool[np.ndarray, " found"]
    intervals: Float64[np.ndarray, "found 2 2"]
    coefficients: Complex128[np.ndarray, "observables found"]
    offsets: Complex128[np.ndarray, " found"]
    modes: Complex128[np.ndarray, "found dim"]
    state_share: float
    tolerance: float
    dictionary: str
    pairs: int
    units: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def nearest(self, eigenvalue: complex | float | np.number) -> int:
        """The index of the eigenvalue nearest to this one. Raises InputError where there is none."""
        if not len(self.eigenvalues):
            raise InputError("no eigenvalue was found, so none is nearest")
        return int(np.abs(self.eigenvalues - eigenvalue).argmin())

    def summary(self) -> str:
        """How many eigenpairs are verified, the surest of them, and what shuffled pairs leave."""
        if self.outcome is Outcome.TOO_SHORT:
            observables = counted(len(self.coefficients), "observable")
            return f"0 eigenpairs read: the recording {self.outcome.value}, {counted(self.pairs, 'pair')} for {observables}"
        found, count = len(self.eigenvalues), int(self.verified.sum())
        text = f"{count} of {found} non-trivial eigenpairs of {self.dictionary} have a residual within {self.tolerance:g}, "
        text += f"on what was left out as well, and {found - count} are spurious"
        if found:
            best = int(self.held_out.argmin())
            text += (
                f"; the smallest residual is {self.held_out[best]:.2g}, at modulus {abs(self.eigenvalues[best]):.4f} and angle "
                f"{abs(np.angle(self.eigenvalues[best])):.4f}"
            )
        for null in self.nulls:
            text += f"; shuffled pairs leave {null.draws.max():.0f} verified at most"
            text += ", so none of it is shown to be dynamics" if count and not null.beaten else ""
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Eigenvalues in the complex plane: verified (disks) and spurious (crosses), with the unit circle."""
        ax = axes_or_new(ax)
        turn = np.linspace(0, 2 * np.pi, 200)
        ax.plot(np.cos(turn), np.sin(turn), color="0.8", linewidth=1)
        for kept, mark, name, colour in (
            (~self.verified, "x", "spurious", "0.6"),
            (self.verified, "o", "verified", "C0"),
        ):
            chosen = self.eigenvalues[kept]
            ax.plot(chosen.real, chosen.imag, mark, color=colour, markersize=4, label=f"{name} ({len(chosen)})")
        ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
        ax.legend(frameon=False, fontsize="small", loc="upper left")
        return ax


def koopman_spectrum(
    trajectory: Trajectory,
    *,
    dictionary: Dictionary | None = None,
    tolerance: float = 1e-2,
    rank_tolerance: float = 1e-10,
    bags: int = 50,
    draws: int = 19,
    generator: np.random.Generator | None = None,
) -> KoopmanSpectrum:
    """Eigenvalues of the recorded map on the span of a dictionary, verified or marked as spurious.

    Parameters
    ----------
    trajectory
        Pairs of successive states are taken within runs. Runs should be independent, since they are what is left out; fewer
        than ten are cut into twenty pieces in all, more than a hundred are taken in a hundred groups.
    dictionary
        (points, dim) -> (points, observables), real, without the constant; ``Coordinates()`` when left out.
    tolerance
        The residual up to which an eigenpair is verified.
    rank_tolerance
        Directions of the observables smaller than this share of the largest are left out.
    bags
        Resamplings of runs with replacement, for the intervals; these are NaN without any.
    draws
        Of shuffled pairs; 19 for a level of 5 %.
    generator
        Of bags and draws; a fixed seed when left out.

    Raises
    ------
    InputError
        For a dictionary of another shape or with values that are not finite, or options out of range.
    """
    dictionary = dictionary or Coordinates()
    if not (tolerance > 0 and 0 < rank_tolerance < 1 and bags >= 0 and draws >= 0):
        raise InputError(
            f"the tolerance is positive, rank_tolerance between 0 and 1, bags and draws not negative, but {tolerance=}, "
            f"{rank_tolerance=}, {bags=}, {draws=} came"
        )
    now, after = trajectory.pairs()
    before, later = _observed(dictionary, now), _observed(dictionary, after)
    units = units_of(trajectory)
    told: dict[str, Any] = {
        "tolerance": float(tolerance),
        "dictionary": getattr(dictionary, "__name__", repr(dictionary)),
        "pairs": len(now),
        "units": int(units.max(initial=-1)) + 1,
    }
    if len(now) < 2 * before.shape[1]:
        return _without(before.shape[1], now.shape[1], told)
    generator = generator or np.random.default_rng(0)

    mean, scale = before.mean(axis=0), before.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(mean), scale, np.inf)  # an observable that is constant is left out
    left, sizes, axes = np.linalg.svd((before - mean) / scale, full_matrices=False)
    kept = sizes > max(rank_tolerance * sizes[0], 1e-300)
    basis = axes[kept].T / sizes[kept] * np.sqrt(len(now)) / scale[:, None]
    P, Q = left[:, kept] * np.sqrt(len(now)), (later - mean) @ basis
    pairs = Pairs(P, Q, units)
    eigen = eigenpairs(P.T @ Q / len(P), Q.mean(axis=0))
    residuals = differences(pairs, eigen)
    order = np.lexsort((-eigen.values.imag, np.round(np.log(residuals + 1e-300), 6)))  # conjugates: the upper one first
    eigen, residuals = eigen.ordered(order), residuals[order]
    moments = moments_of(pairs)
    held_out = residuals_held_out(moments, eigen)

    spread = now - now.mean(axis=0)
    inside = P.T @ spread / len(P)
    verified = (residuals <= tolerance) & (held_out <= tolerance)
    return KoopmanSpectrum(
        eigenvalues=eigen.values,
        residuals=residuals,
        held_out=held_out,
        verified=verified,
        intervals=intervals_of(moments, eigen, bags, generator),
        coefficients=basis @ eigen.vectors,
        offsets=eigen.constants - mean @ basis @ eigen.vectors,
        modes=np.linalg.pinv(eigen.vectors) @ inside.astype(np.complex128),
        state_share=float((inside**2).sum() / max((spread**2).mean(axis=0).sum(), 1e-300)),
        outcome=Outcome.CONVERGED,
        nulls=_shuffles(pairs, tolerance, int(verified.sum()), draws, generator) if draws else (),
        checks=_checks(pairs, moments, eigen, residuals),
        **told,
    )  # fmt: skip


def _observed(dictionary: Dictionary, states: np.ndarray) -> np.ndarray:
    values = np.asarray(dictionary(states))
    if values.ndim != 2 or len(values) != len(states) or not values.shape[1] or np.iscomplexobj(values):
        raise InputError(
            f"a dictionary gives real numbers (points, observables), but {values.dtype} of shape {values.shape} came of "
            f"{len(states)} states"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).any(axis=1).sum())} of {len(states)} states have observables that are not finite"
        )
    return values.astype(np.float64)


def _shuffles(
    pairs: Pairs, tolerance: float, verified: int, draws: int, generator: np.random.Generator
) -> tuple[Null, ...]:
    def count() -> int:
        drawn = Pairs(pairs.P, pairs.Q[generator.permutation(len(pairs.Q))], pairs.units)
        eigen = eigenpairs(drawn.P.T @ drawn.Q / len(drawn.P), drawn.Q.mean(axis=0))
        small = differences(drawn, eigen) <= tolerance
        return int((small & (residuals_held_out(moments_of(drawn), eigen) <= tolerance)).sum()) if small.any() else 0

    left = np.array([count() for _ in range(draws)], dtype=np.float64)
    return (Null("shuffled pairs", "the next state has nothing to do with the state", "pair", left, float(verified)),)


def _checks(pairs: Pairs, moments: np.ndarray, eigen: Eigenpairs, residuals: np.ndarray) -> tuple[Check, ...]:
    if not len(residuals):
        return ()
    G = pairs.Q @ eigen.vectors
    spans = (np.abs(G - eigen.means) ** 2).mean(axis=0)
    apart = (np.abs(G - eigen.means - eigen.values * (pairs.P @ eigen.vectors)) ** 2).mean(axis=0)
    split = np.abs(spans - np.abs(eigen.values) ** 2 - apart) / np.maximum(spans, 1)
    both = np.abs(residuals_of(moments.sum(axis=0), eigen) ** 2 - residuals**2) / np.maximum(residuals**2, 1)
    return (
        Check("the error of K g is orthogonal to the span, largest deviation", 0.0, float(split.max()), 1e-6),
        Check("squared residuals from G, A, L and from differences, largest gap", 0.0, float(both.max()), 1e-8),
    )


def _without(observables: int, dim: int, told: dict[str, Any]) -> KoopmanSpectrum:
    nothing = np.zeros(0)
    return KoopmanSpectrum(
        eigenvalues=nothing.astype(complex), residuals=nothing, held_out=nothing, verified=nothing.astype(bool),
        intervals=np.zeros((0, 2, 2)), coefficients=np.zeros((observables, 0), complex), offsets=nothing.astype(complex),
        modes=np.zeros((0, dim), complex), state_share=0.0, outcome=Outcome.TOO_SHORT, nulls=(), checks=(), **told,
    )  # fmt: skip
