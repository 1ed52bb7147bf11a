"""What does each rest or cycle do to states nearby? Classification by the eigenvalues of the linearised map.

Method: a point whose eigenvalues all lie off the unit circle attracts along those inside and repels along those outside
(Kuznetsov, Elements of Applied Bifurcation Theory, section 2.2; a cycle's eigenvalues are its multipliers). The kind within
is read off the leading eigenvalue. Takes a FixedPoints or Cycles result; costs nothing beyond its eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.result import Check, Result, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TURNING = 1e-9  # |imaginary part| below this is rounding: the eigenvalue is real


@dataclass(frozen=True, eq=False)
class Stability(Result):
    """What each point or cycle is.

    Attributes
    ----------
    kinds
        "stable", "saddle" or "unstable", then "node" (leading eigenvalue not negative), "flip" (real and negative: sides
        alternate) or "focus" (complex: neighbours rotate); "not classified" where an eigenvalue is missing (NaN).
    periods : (found,)
        What was classified: 1 for a fixed point, else the period of the cycle.
    unstable : (found,)
        Number of given eigenvalues outside the unit circle: with all of them, the dimension of the unstable manifold.
    margins : (found,)
        Smallest distance of a given eigenvalue's modulus from 1; near 0 the kind hangs on rounding.
    time_constants : (found, kept)
        -T / ln |eigenvalue|, in clock units: how long a deviation takes to fall by a factor e (negative: to grow by e);
        T is the period. Infinite at modulus 1, 0 at eigenvalue 0.
    rotations : (found, kept)
        Turns per clock unit of each eigenvalue, 0 to 0.5 / T.
    checks
        Eigenvalues come in conjugate pairs.
    """

    kinds: tuple[str, ...]
    periods: Int[np.ndarray, " found"]
    unstable: Int[np.ndarray, " found"]
    margins: Float[np.ndarray, " found"]
    time_constants: Float[np.ndarray, "found kept"]
    rotations: Float[np.ndarray, "found kept"]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many of each kind, stable ones first."""
        names = sorted(set(self.kinds), key=lambda kind: (not kind.startswith("stable"), kind))
        counts = ", ".join(f"{self.kinds.count(kind)} {kind}" for kind in names)
        return f"{len(self.kinds)} classified: {counts}" if counts else "nothing to classify"

    def plot(self, ax: Axes | None = None) -> Axes:
        """How many points have how many unstable directions."""
        ax = axes_or_new(ax)
        numbers, counts = np.unique(self.unstable, return_counts=True)
        ax.bar(numbers, counts, color=["#0072b2" if number == 0 else "#d55e00" for number in numbers])
        ax.set(xlabel="unstable directions", ylabel="how many", xticks=numbers)
        return ax


def classify(found: FixedPoints | Cycles, *, dt: float = 1.0) -> Stability:
    """Classify fixed points or cycles.

    Parameters
    ----------
    found
        With eigenvalues (found, kept), largest modulus first: all ``dim`` of them, or the leading ones of a wide map.
    dt
        Clock units per step of the map.

    Returns
    -------
    Stability
        Row by row what ``found`` holds; raises nothing of its own.

    Notes
    -----
    A point is stable when every eigenvalue lies inside the unit circle, unstable when all ``dim`` lie outside, and else a
    saddle. Leading eigenvalues alone decide "stable"; when all of them lie outside, the others count as inside.
    """
    values, dim = found.eigenvalues, found.points.shape[-1]
    periods = found.periods if isinstance(found, Cycles) else np.ones(len(values), dtype=np.int64)
    moduli = np.abs(values)
    unstable = (moduli > 1).sum(axis=1)
    with np.errstate(divide="ignore"):
        time_constants = np.where(moduli == 1, np.inf, -(periods[:, None] * dt) / np.log(moduli))
    return Stability(
        kinds=tuple(_kind(row, int(count), dim) for row, count in zip(values, unstable, strict=True)),
        periods=periods.astype(np.int64),
        unstable=unstable.astype(np.int64),
        margins=np.abs(moduli - 1).min(axis=1, initial=np.inf),
        time_constants=time_constants + 0.0,  # -T / -inf is -0: an eigenvalue of 0 forgets at once
        rotations=np.abs(np.angle(values)) / (2 * np.pi * periods[:, None] * dt),
        checks=(Check("sum of imaginary parts of the eigenvalues", 0.0, _unpaired(values, dim), 1e-8),),
    )


def _unpaired(values: np.ndarray, dim: int) -> float:
    """Largest |sum of imaginary parts|, less a pair that the end of the kept eigenvalues cuts in two."""
    imaginary = np.where(np.isfinite(values), values.imag, 0.0)
    if values.shape[1] < dim:
        imaginary[:, -1:][imaginary[:, -1:] > TURNING] = 0.0  # of a pair the positive one comes first
    return float(np.abs(imaginary.sum(axis=1)).max(initial=0))


def _kind(values: np.ndarray, unstable: int, dim: int) -> str:
    if np.isnan(values).any():
        return "not classified"
    head = "stable" if unstable == 0 else "unstable" if unstable == dim else "saddle"
    leading = values[0]
    if abs(leading.imag) > TURNING:
        return f"{head} focus"
    return f"{head} {'flip' if leading.real < 0 else 'node'}"
