"""How do the exponents change with a parameter? Means over the runs at each of its values, with the scatter between runs.

Takes a LyapunovSpectrum whose starts were run at different values (the parameter being a drive held along each run) and the
value of each start. Runs that share a value are replicates: networks drawn anew, or starts of one map; the standard error is of
their mean, so where they end on different attractors it covers that too. Costs nothing beside the spectrum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from analyses.maps._dimension import kaplan_yorke
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class ExponentCurve(Result):
    """Exponents over one parameter.

    Attributes
    ----------
    parameter
        Its name.
    values : (values,)
        Ascending.
    exponents, standard_errors : (values, directions)
        Mean over the replicates that stayed bounded, and its standard error; NaN where none, or one, did.
    replicates : (values,)
        How many stayed bounded.
    positive : (values,)
        Mean number of positive exponents.
    dimensions, dimension_errors : (values,)
        Mean Kaplan-Yorke dimension over the replicates and its standard error; NaN where a replicate's directions do not reach
        a negative sum.
    checks
        None: the spectrum holds them.
    """

    parameter: str
    values: Float[np.ndarray, " values"]
    exponents: Float[np.ndarray, "values directions"]
    standard_errors: Float[np.ndarray, "values directions"]
    replicates: Int[np.ndarray, " values"]
    positive: Float[np.ndarray, " values"]
    dimensions: Float[np.ndarray, " values"]
    dimension_errors: Float[np.ndarray, " values"]
    checks: tuple[Check, ...]

    @property
    def crossing(self) -> float:
        """Where the mean largest exponent last goes from negative to positive, by a straight line; NaN when it never does."""
        leading = self.exponents[:, 0]
        turns = np.flatnonzero((leading[:-1] < 0) & (leading[1:] >= 0))
        if not len(turns):
            return math.nan
        i = turns[-1]
        return float(np.interp(0.0, leading[i : i + 2], self.values[i : i + 2]))

    def summary(self) -> str:
        """The largest exponent at both ends, where it crosses zero, and how many are positive at most."""
        if not self.replicates.any():
            return f"0 of {counted(len(self.values), 'value')} of {self.parameter} have bounded runs"
        known = np.flatnonzero(self.replicates)
        ends = [
            f"{self.exponents[i, 0]:+.3g} ± {self.standard_errors[i, 0]:.1g} at {self.values[i]:.4g}"
            for i in (known[0], known[-1])
        ]
        text = (
            f"{len(known)} of {counted(len(self.values), 'value')} of {self.parameter} have bounded runs; the largest exponent "
            f"is {' and '.join(ends)}"
        )
        text += ", without a change from negative to positive" if math.isnan(self.crossing) else ""
        text += "" if math.isnan(self.crossing) else f" and turns positive at {self.crossing:.3g}"
        most = int(np.nanargmax(self.positive))
        text += f"; most positive exponents: {self.positive[most]:.3g} at {self.values[most]:.4g}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The largest exponents over the parameter, with two standard errors."""
        ax = axes_or_new(ax)
        for direction in range(min(self.exponents.shape[1], 4)):
            ax.errorbar(self.values, self.exponents[:, direction], 2 * np.nan_to_num(self.standard_errors[:, direction]),
                        fmt="o-", markersize=3, linewidth=0.8, label=f"exponent {direction + 1}")  # fmt: skip
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel=self.parameter, ylabel="exponent per unit of the clock")
        ax.legend(frameon=False, fontsize="small")
        return ax


def exponent_curve(spectrum: LyapunovSpectrum, values: Any, *, parameter: str = "parameter") -> ExponentCurve:
    """Exponents over a parameter, from runs at different values of it.

    Parameters
    ----------
    spectrum
        Of starts run at these values.
    values : (starts,)
        The parameter of each start.
    parameter
        What it is called.

    Raises
    ------
    InputError
        When there is not one finite value a start.
    """
    each = np.asarray(values, dtype=np.float64)
    if each.shape != spectrum.attractor.shape or not np.isfinite(each).all():
        raise InputError(
            f"one finite value a start is needed, {len(spectrum.attractor)} of them, but {each.shape} came"
        )
    levels = np.unique(each)
    width = spectrum.per_start.shape[1]
    shape = (len(levels), width)
    means, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    counts = np.zeros(len(levels), dtype=np.int64)
    positive, dimensions, dimension_errors = (np.full(len(levels), np.nan) for _ in range(3))
    for i, level in enumerate(levels):
        runs = -np.sort(-spectrum.per_start[(each == level) & (spectrum.attractor >= 0)], axis=1)
        counts[i] = len(runs)
        if not len(runs):
            continue
        means[i], positive[i] = runs.mean(axis=0), (runs > 0).sum(axis=1).mean()
        reached = kaplan_yorke(runs)
        dimensions[i] = reached.mean()
        if len(runs) > 1:
            errors[i] = runs.std(axis=0, ddof=1) / math.sqrt(len(runs))
            dimension_errors[i] = reached.std(ddof=1) / math.sqrt(len(runs))
    return ExponentCurve(parameter, levels, means, errors, counts, positive, dimensions, dimension_errors, checks=())
