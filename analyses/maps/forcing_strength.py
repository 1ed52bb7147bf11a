"""How strongly must data pull the state back for gradients along them to stay bounded? alpha* = max(0, 1 - 1 / N).

Generalised teacher forcing steps from (1 - alpha) z + alpha z_data, so each Jacobian of a gradient's product comes with a
factor 1 - alpha; with N a bound of |J|_2, the product stays at most 1 from alpha* on (Hess, Monfared, Brenner, Durstewitz, ICML
2023). Four estimates of N stand side by side: a bound from the parameters, the largest norm along the data, the geometric mean
along a run, and the norm of the mean Jacobian. Only the first two bound every step; the geometric mean bounds the product over
the whole of each run it was taken from; the mean bounds neither.

Takes (dynamics, a Trajectory or runs of states); costs a Jacobian and its singular values a state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from analyses.maps._along import slopes_along
from analyses.maps._forcing import norm_estimates, strength_for
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Estimator = Literal["parameters", "largest", "geometric mean", "mean Jacobian"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


@dataclass(frozen=True, eq=False)
class ForcingStrength(Result):
    """Every estimate of the Jacobian norm with its forcing strength.

    Attributes
    ----------
    estimators
        Names of the four.
    norms : (estimators,)
        N; NaN for the parameters when no bound was given.
    strengths : (estimators,)
        alpha*, 0 to 1.
    chosen
        The estimator that ``strength`` takes.
    states
        How many Jacobians were read.
    checks
        No norm lies above the largest, and the largest not above the parameter bound.
    """

    estimators: tuple[str, ...]
    norms: Float[np.ndarray, " estimators"]
    strengths: Float[np.ndarray, " estimators"]
    chosen: str
    states: int
    checks: tuple[Check, ...]

    @property
    def strength(self) -> float:
        """alpha* of the chosen estimator."""
        return float(self.strengths[self.estimators.index(self.chosen)])

    @property
    def every_step(self) -> bool:
        """Whether (1 - strength) |J| <= 1 at every state that was read."""
        return bool((1 - self.strength) * self.norms[self.estimators.index("largest")] <= 1 + 1e-12)

    def summary(self) -> str:
        """The chosen strength, what it bounds, and the other estimates."""
        if not self.states:
            return "0 states read, so no forcing strength"
        known = {n: s for n, s in zip(self.estimators, self.strengths, strict=True) if not math.isnan(s)}
        others = ", ".join(f"{known[name]:.3g} ({name})" for name in known if name != self.chosen)
        bounded = "no step expands" if self.every_step else "single steps still expand"
        return f"{self.states} Jacobians read: alpha* = {self.strength:.3g} by {self.chosen}, so {bounded}; others: {others}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The strengths, the chosen one filled."""
        ax = axes_or_new(ax)
        rows = np.arange(len(self.estimators))
        ax.bar(rows, np.nan_to_num(self.strengths), edgecolor="#0072b2",
               color=["#0072b2" if name == self.chosen else "none" for name in self.estimators])  # fmt: skip
        ax.set_xticks(rows, [name.replace(" ", "\n") for name in self.estimators])
        ax.set(ylabel="forcing strength alpha*", ylim=(0, 1))
        return ax


def forcing_strength(
    dynamics: Dynamics,
    states: Any,
    *,
    drives: Any = None,
    estimator: Estimator = "geometric mean",
    bound: float = math.nan,
) -> ForcingStrength:
    """The forcing strength alpha* along data, by each estimate of the Jacobian norm.

    Parameters
    ----------
    states : Trajectory, (steps, dim) or (runs, steps, dim)
        The data, as states of the map.
    drives : (steps, inputs) or (runs, steps, inputs)
        One a state, for a driven map with states that are no Trajectory.
    estimator
        The one chosen; the default is that of the paper's code.
    bound
        Of |J|_2 from the parameters: |A|_max + |W1| |W2| for z' = A z + W1 relu(W2 z + h2) + h1.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For an unknown estimator, "parameters" without a bound, or states and drives that do not fit.
    """
    if estimator not in ESTIMATORS:
        raise InputError(f"no estimator {estimator!r}; there are {', '.join(ESTIMATORS)}")
    if estimator == "parameters" and math.isnan(bound):
        raise InputError("the estimator 'parameters' takes its norm from bound=, and none came")
    runs = slopes_along(dynamics, states, drives, "forcing_strength")
    largest, product, mean = norm_estimates(runs)
    norms = np.array([bound, largest, product, mean], dtype=np.float64)
    excess = max(product, mean) - largest
    checks = [Check("a mean norm above the largest", 0.0, max(excess, 0.0), 1e-12 * max(largest, 1.0))]
    if not math.isnan(bound):
        checks.append(
            Check(
                "the largest norm above the parameter bound",
                0.0,
                float(max(largest - bound, 0.0)),
                1e-12 * max(largest, 1.0),
            )
        )
    return ForcingStrength(
        estimators=ESTIMATORS,
        norms=norms,
        strengths=np.array([math.nan if math.isnan(norm) else strength_for(norm) for norm in norms]),
        chosen=estimator,
        states=sum(len(run) for run in runs),
        checks=tuple(checks),
    )
