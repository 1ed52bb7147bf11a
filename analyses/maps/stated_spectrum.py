"""Can these be the exponents of this map? Numbers from a paper or a database, held against measured ones and identities.

Four identities, none of which needs a long run: the exponents sum to the mean of ln |det J| (for a flow, its mean divergence;
Liouville); a flow off its rests has an exponent zero; a largest exponent given twice is one number; and the Kaplan-Yorke
dimension follows from the exponents (Kaplan, Yorke, Lecture Notes in Mathematics 730, 1979).

Takes a LyapunovSpectrum with all directions and the stated numbers; costs nothing beside it. Standard errors are those of
independent starts: the scatter of ``per_start``, and for the dimension its jackknife (the errors of the exponents are tied
together by their sum).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from analyses.maps._dimension import FLOOR, kaplan_yorke
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.result import Check, Result, axes_or_new
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURE = 3.0  # standard errors of the measured ones that a stated number may be off
ROUNDED = 1e-2  # by which a stated dimension may miss the one that follows from the stated exponents
FEWEST = 8  # starts whose scatter is a standard error
SUM, ZERO, TWICE, DIMENSION = (
    "sum of the exponents",
    "exponent nearest to zero",
    "largest exponent, given apart",
    "Kaplan-Yorke dimension",
)


@dataclass(frozen=True, eq=False)
class SpectrumAudit(Result):
    """Stated exponents beside measured ones.

    Attributes
    ----------
    stated, measured, standard_errors : (directions,)
        Descending. The measured ones are means over the starts of one attractor.
    apart : (directions,) bool
        Off by more than three standard errors and ``tolerance`` of the largest measured exponent together.
    identities
        Names of those that could be held against the stated numbers.
    required, given, allowed : (identities,)
        What each requires, what is stated, and by how much it may miss.
    dimension, dimension_error, entropy, entropy_error
        Measured: the Kaplan-Yorke dimension (that of the space where the exponents do not sum to less than zero), and the sum
        of the positive exponents, with standard errors.
    halves : (2,)
        The largest exponent over the first and over the second half of the runs. Where they differ by much more than chance,
        the runs are too short, or the orbits are regular: neighbours part like a power of time, and the mean falls for ever.
    starts
        Independent runs behind the measured numbers.
    tolerance
        Share of the largest exponent that is no quarrel.
    checks
        For a flow: the measured exponent nearest to zero is zero.
    """

    stated: Float[np.ndarray, " directions"]
    measured: Float[np.ndarray, " directions"]
    standard_errors: Float[np.ndarray, " directions"]
    apart: Bool[np.ndarray, " directions"]
    identities: tuple[str, ...]
    required: Float[np.ndarray, " identities"]
    given: Float[np.ndarray, " identities"]
    allowed: Float[np.ndarray, " identities"]
    dimension: float
    dimension_error: float
    entropy: float
    entropy_error: float
    halves: Float[np.ndarray, "2"]
    starts: int
    tolerance: float
    checks: tuple[Check, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """The identities that the stated numbers break."""
        missed = ~(np.abs(self.given - self.required) <= self.allowed)
        return tuple(name for name, broken in zip(self.identities, missed, strict=True) if broken)

    @property
    def settled(self) -> bool:
        """Whether the two halves of the runs agree within three standard errors of their difference."""
        return not abs(self.halves[0] - self.halves[1]) > 2 * SURE * self.standard_errors[0] + FLOOR

    def summary(self) -> str:
        """How many stated exponents agree, and which identities they break by how much."""
        text = (
            f"{int((~self.apart).sum())} of {len(self.apart)} stated exponents agree with the measured ones within three "
            f"standard errors and {self.tolerance:.0%} of the largest (largest: {self.stated[0]:.4g} stated, "
            f"{self.measured[0]:.4g} ± {self.standard_errors[0]:.1g} measured)"
        )
        found = zip(self.identities, self.required, self.given, strict=True)
        missed = [f"{name} {given:.4g}, not {required:.4g}" for name, required, given in found if name in self.broken]
        kept = f"; the stated ones keep all {len(self.identities)} identities tried"
        text += f"; the stated ones break {len(missed)} of {len(self.identities)} identities: " if missed else kept
        text += "; ".join(missed)
        if not self.settled:
            text += (
                f"; the measured largest exponent is not settled, {self.halves[0]:.3g} over the first half of the runs and "
                f"{self.halves[1]:.3g} over the second: they are too short, or the orbits are regular"
            )
        return (
            f"{text}; measured dimension {self.dimension:.4g} ± {self.dimension_error:.1g}, entropy {self.entropy:.3g} ± "
            f"{self.entropy_error:.1g}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Measured exponents with three standard errors, and the stated ones."""
        ax = axes_or_new(ax)
        place = np.arange(1, len(self.stated) + 1)
        ax.errorbar(place, self.measured, 3 * self.standard_errors, fmt="o", markersize=4, capsize=3, label="measured")
        ax.plot(place, self.stated, "x", markersize=7, label="stated")
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="direction", ylabel="exponent per unit of the clock", xticks=place)
        ax.legend(frameon=False, fontsize="small")
        return ax


def audit_spectrum(
    spectrum: LyapunovSpectrum,
    stated: Any,
    *,
    largest: float = math.nan,
    dimension: float = math.nan,
    flow: bool = True,
    tolerance: float = 0.05,
    attractor: int = 0,
) -> SpectrumAudit:
    """Hold stated exponents against measured ones and against the identities that any spectrum keeps.

    Parameters
    ----------
    spectrum
        Measured, in all directions, from starts spread over the attractor.
    stated : (directions,)
        Per unit of the same clock.
    largest, dimension
        The largest exponent and the Kaplan-Yorke dimension as stated beside them; NaN where they are not.
    flow
        Whether the map is the flow of an autonomous field away from its rests, so that an exponent is zero.
    tolerance
        Share of the largest exponent, in absolute value, that a stated exponent, the sum, the zero, or the largest given
        apart may be off.
    attractor
        Which of the measured ones.

    Raises
    ------
    InputError
        When the stated exponents are not as many as the measured ones or not finite, when fewer than eight starts end on the
        attractor, or when the measured ones are not all directions (no sum rule) or not finite.
    """
    told = -np.sort(-np.asarray(stated, dtype=np.float64))
    width = spectrum.exponents.shape[1]
    if told.shape != (width,) or not np.isfinite(told).all():
        raise InputError(
            f"{width} finite exponents are needed, as many as were measured, but {np.shape(stated)} came: {told}"
        )
    runs = spectrum.per_start[spectrum.attractor == attractor]
    if len(runs) < FEWEST:
        raise InputError(
            f"attractor {attractor} has {len(runs)} starts; {FEWEST} independent ones give a standard error"
        )
    summed = any(check.name.startswith(f"sum of exponents, attractor {attractor + 1}:") for check in spectrum.checks)
    if not summed or not np.isfinite(runs).all():
        raise InputError("the measured exponents must be finite and in all directions, so that their sum is known")
    runs = runs[:, np.argsort(-runs.mean(axis=0), kind="stable")]
    measured, errors = runs.mean(axis=0), _error(runs)
    slack = tolerance * float(np.abs(told).max(where=told > 0, initial=0) or np.abs(told).max())
    total = runs.sum(axis=1)
    rows = [(SUM, float(total.mean()), float(told.sum()), slack + SURE * float(_error(total[:, None])[0]))]
    checks: tuple[Check, ...] = ()
    if flow:
        nearest = int(np.abs(measured).argmin())
        rows.append((ZERO, 0.0, float(told[np.abs(told).argmin()]), slack))
        near = max(tolerance * abs(float(measured[0])), 4 * float(errors[nearest]))
        checks = (Check("measured exponent nearest to zero", 0.0, float(measured[nearest]), near),)
    if not math.isnan(largest):
        rows.append((TWICE, float(told[0]), largest, slack))
    if not math.isnan(dimension):
        rows.append((DIMENSION, float(_dimension(told[None])[0]), dimension, ROUNDED))
    without = (runs.sum(axis=0) - runs) / (len(runs) - 1)  # means that leave one start out
    dimensions, entropies = _dimension(without), np.maximum(without, 0).sum(axis=1)
    return SpectrumAudit(
        stated=told,
        measured=measured,
        standard_errors=errors,
        apart=np.abs(told - measured) > SURE * errors + tolerance * np.abs(measured[0]),
        identities=tuple(row[0] for row in rows),
        required=np.array([row[1] for row in rows]),
        given=np.array([row[2] for row in rows]),
        allowed=np.array([row[3] for row in rows]),
        dimension=float(_dimension(measured[None])[0]),
        dimension_error=_jackknife(dimensions),
        entropy=float(np.maximum(measured, 0).sum()),
        entropy_error=_jackknife(entropies),
        halves=_halves(spectrum.running[:, attractor, 0], spectrum.running_steps),
        starts=len(runs),
        tolerance=tolerance,
        checks=checks,
    )


def _error(runs: np.ndarray) -> np.ndarray:
    """(directions,) standard error of the mean over (starts, directions)."""
    return runs.std(axis=0, ddof=1) / math.sqrt(len(runs))


def _halves(running: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(2,) means over both halves from the running mean; NaN when there is one checkpoint."""
    if len(steps) < 2:
        return np.full(2, np.nan)
    middle = len(steps) // 2 - 1
    rest = (running[-1] * steps[-1] - running[middle] * steps[middle]) / (steps[-1] - steps[middle])
    return np.array([running[middle], rest])


def _jackknife(left_out: np.ndarray) -> float:
    return float(math.sqrt(len(left_out) - 1) * left_out.std())


def _dimension(rows: np.ndarray) -> np.ndarray:
    """(rows,) Kaplan-Yorke dimensions with all directions given: that of the space where their sum does not turn negative."""
    found = kaplan_yorke(rows)
    return np.where(np.isnan(found), rows.shape[1], found)
