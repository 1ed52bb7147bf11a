"""Which units make a network change what it says: off while an output lasts, on when it is about to change?

Method: states come with their classes of residence (``residency``). For each output, a unit drives its changes when its mean
activity is below zero in clusters, above zero in transitions by four standard errors more, and not outside the two in kick
zones; units are ranked by the difference over the spread. The null exchanges classes among states that say the same.
Source: the kick neurons of Torre et al., RNNs emulating hidden Markov models (2025), which are read off there by hand.

Takes a Residency and activations (runs, steps, units); costs states x units a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols.residency import Residency
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRANSITION, KICK, CLUSTER = 0, 1, 2  # the classes of ``residency``
FEWEST = 5  # states of a class, of one output, that have a mean
SURE = 4.0  # standard errors between the levels of a driving unit
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class TransitionUnits(Result):
    """Units that are off while an output lasts and on when it changes.

    Attributes
    ----------
    symbols : (outputs,)
        The outputs that were found to last somewhere and to change somewhere.
    levels : (outputs, 3, units)
        Mean activity in transitions, kick zones and clusters, of states that say the output; NaN in kick zones without states.
    separations : (outputs, units)
        Transition less cluster level, over the spread within the two.
    driving : (outputs, units) bool
        Level below 0 in clusters, above 0 in transitions, by four standard errors more, and not outside the two in kick zones.
    nulls
        Of the number driving, with classes exchanged among states that say the same.
    checks
        None: levels have no identity to satisfy.
    """

    symbols: Int[np.ndarray, " outputs"]
    levels: Float[np.ndarray, "outputs classes units"]
    separations: Float[np.ndarray, "outputs units"]
    driving: Bool[np.ndarray, "outputs units"]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def groups(self, most: int = 3) -> dict[str, tuple[int, ...]]:
        """For each output, the ``most`` driving units that are best separated: what ``unit_ablation`` takes."""
        best = [np.argsort(np.where(on, -size, np.inf), kind="stable")[: min(most, on.sum())] for on, size in
                zip(self.driving, self.separations, strict=True)]  # fmt: skip
        return {
            f"leaving {symbol}": tuple(map(int, units))
            for symbol, units in zip(self.symbols, best, strict=True)
            if len(units)
        }

    def summary(self) -> str:
        """How many units drive the changes of each output, and how many would by chance."""
        text = f"{counted(len(self.symbols), 'output')} last somewhere and change somewhere"
        for symbol, row in zip(self.symbols, self.driving, strict=True):
            text += f"; {int(row.sum())} of {len(row)} units are off while {symbol} lasts and on when it changes"
        for null in self.nulls:
            verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
            text += f" ({null.name}: {np.median(null.draws):g} in all, {verdict})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Levels of the driving units in the three classes."""
        ax = axes_or_new(ax)
        for levels, driving, symbol in zip(self.levels, self.driving, self.symbols, strict=True):
            for number, unit in enumerate(np.flatnonzero(driving)):
                label = "" if number else f"leaving {symbol}"
                ax.plot(levels[::-1, unit], color=f"C{int(symbol) % 10}", linewidth=0.8, label=label)
        ax.axhline(0, color="0.7", linewidth=0.8)
        ax.set_xticks(range(3), ["cluster", "kick zone", "transition"])
        ax.set(ylabel="mean activity")
        if self.driving.any():
            ax.legend(frameon=False)
        return ax


def transition_units(
    residence: Residency,
    activations: Float[np.ndarray, "runs steps units"],
    *,
    draws: int = 199,
    generator: np.random.Generator | None = None,
) -> TransitionUnits:
    """Find the units that are off where an output lasts and on where it is about to change.

    Parameters
    ----------
    residence
        Of states of the trajectory whose ``activations`` these are.
    activations
        What is asked of each unit, with a sign: pre-activations, of rectified units.
    draws
        Of the null.
    generator
        A fixed seed when left out.

    Returns
    -------
    TransitionUnits
        Outputs with fewer than five transition or cluster states are left out.

    Raises
    ------
    InputError
        When the activations do not reach to the states of ``residence``.
    """
    shape = activations.shape[:2]
    if len(residence.runs) and (residence.runs.max() >= shape[0] or residence.steps.max() >= shape[1]):
        raise InputError(
            f"activations are of the trajectory that was followed, up to run {residence.runs.max()} and step "
            f"{residence.steps.max()}, but shape {activations.shape} came"
        )
    generator = generator or np.random.default_rng(0)
    values = activations[residence.runs, residence.steps].astype(np.float64)
    classes = residence.classes
    counts = {
        int(symbol): [int(((residence.symbols == symbol) & (classes == kind)).sum()) for kind in (TRANSITION, CLUSTER)]
        for symbol in np.unique(residence.symbols)
    }
    symbols = np.array([symbol for symbol, both in counts.items() if min(both) >= FEWEST], dtype=np.int64)

    units = values.shape[1]
    empty = np.zeros((0, 3, units)), np.zeros((0, units)), np.zeros((0, units))

    def measured(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [_levels(values, classes, residence.symbols == symbol) for symbol in symbols]
        levels, spreads, errors = (np.array(part) for part in zip(*parts, strict=True)) if parts else empty
        off, between, on = levels[:, CLUSTER], levels[:, KICK], levels[:, TRANSITION]
        driving = (off < 0) & (on > 0) & ~(between < off) & ~(between > on) & (on - off > SURE * errors)
        return levels, (on - off) / np.maximum(spreads, TINY), driving

    levels, separations, driving = measured(classes)
    drawn = []
    for _ in range(draws if len(symbols) else 0):
        mixed = classes.copy()
        for symbol in symbols:
            rows = np.flatnonzero(residence.symbols == symbol)
            mixed[rows] = generator.permutation(classes[rows])
        drawn.append(float(measured(mixed)[2].sum()))
    hypothesis = "a unit's activity has nothing to do with how long the output lasts"
    nulls = (Null("classes exchanged", hypothesis, "unit", np.array(drawn), float(driving.sum())),) if drawn else ()
    return TransitionUnits(symbols, levels, separations, driving, nulls, ())


def _levels(values: np.ndarray, classes: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(3, units) means in transitions, kick zones and clusters; (units,) spread within the first and the last, and the standard
    error of their difference."""
    parts = [values[said & (classes == kind)] for kind in (TRANSITION, KICK, CLUSTER)]
    means = [part.mean(axis=0) if len(part) else np.full(values.shape[1], np.nan) for part in parts]
    on, off = parts[TRANSITION], parts[CLUSTER]
    spread = np.sqrt((on.var(axis=0) + off.var(axis=0)) / 2)
    return np.array(means), spread, np.sqrt(on.var(axis=0) / len(on) + off.var(axis=0) / len(off))
