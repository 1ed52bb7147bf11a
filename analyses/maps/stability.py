"""What does each rest or cycle do to states nearby? Classification by the eigenvalues of the linearised map.

Takes a FixedPoints or Cycles result; costs nothing beyond its eigenvalues.
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
        "stable", "saddle" or "unstable", then "node" (leading eigenvalue real and positive), "flip" (real and
        negative: sides alternate) or "focus" (complex: neighbours rotate).
    unstable : (found,)
        Number of eigenvalues outside the unit circle: the dimension of the unstable manifold.
    margins : (found,)
        Smallest distance of an eigenvalue's modulus from 1; near 0 the kind hangs on rounding.
    time_constants : (found, dim)
        -T / ln |eigenvalue|, in clock units: how long a deviation takes to fall by e (negative: to grow by e);
        T is the period. Infinite at modulus 1, 0 at eigenvalue 0.
    rotations : (found, dim)
        Turns per clock unit of each eigenvalue, 0 to 0.5 per period.
    checks
        Eigenvalues come in conjugate pairs.
    """

    kinds: tuple[str, ...]
    unstable: Int[np.ndarray, " found"]
    margins: Float[np.ndarray, " found"]
    time_constants: Float[np.ndarray, "found dim"]
    rotations: Float[np.ndarray, "found dim"]
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
        With eigenvalues (found, dim), sorted by modulus.
    dt
        Clock units per step of the map.

    Notes
    -----
    A point is stable when every eigenvalue lies inside the unit circle, unstable when every one lies outside, and
    else a saddle; its index is ``unstable``.
    """
    values = found.eigenvalues
    steps = found.periods if isinstance(found, Cycles) else np.ones(len(values), dtype=np.int64)
    moduli = np.abs(values)
    unstable = (moduli > 1).sum(axis=1)
    with np.errstate(divide="ignore"):
        time_constants = -(steps[:, None] * dt) / np.log(moduli)
    return Stability(
        kinds=tuple(_kind(row, int(count)) for row, count in zip(values, unstable, strict=True)),
        unstable=unstable.astype(np.int64),
        margins=np.abs(moduli - 1).min(axis=1, initial=np.inf),
        time_constants=time_constants + 0.0,  # -T / -inf is -0: an eigenvalue of 0 forgets at once
        rotations=np.abs(np.angle(values)) / (2 * np.pi * steps[:, None] * dt),
        checks=(
            Check(
                "sum of imaginary parts of the eigenvalues",
                0.0,
                float(np.abs(values.imag.sum(axis=1)).max(initial=0)),
                1e-8,
            ),
        ),
    )


def _kind(values: np.ndarray, unstable: int) -> str:
    head = "stable" if unstable == 0 else "unstable" if unstable == len(values) else "saddle"
    leading = values[0]
    if abs(leading.imag) > TURNING:
        return f"{head} focus"
    return f"{head} {'flip' if leading.real < 0 else 'node'}"
