"""How long does a driven map remember, and does it forget exponentially or by a power law?

Method: the memory function of Wang, Li and Li (ICLR 2024, arXiv 2305.19190): an input steps from its base value to x and stays;
M(t) = sup_x |y(t) - y(t - 1)| / |x|, y what the network says t steps later. A linear map h' = A h + B x, y = C h has
M(t) = sup_x |C A^(t-1) B x| / |x|: what is left of an impulse. Steps up and down of a small size, half their difference, give
the linear part of the response, in every input direction; a larger size asks for the response at that size.

The envelope max_{s >= t} M(s) is fitted by ln M = a + rate t and by ln M = a - power ln t, at steps spaced evenly in ln t, so
that neither law has more points where it is at its best; where one leaves less than half of the other's root mean square, it is
the law. A network of finitely many units forgets exponentially in the end, whatever it does before.

Takes (dynamics, rest (dim,)); costs ``steps`` steps of a batch of two states an input direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.tangent import drive_jacobian, jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 64  # of the envelope that the laws are fitted to
FEWEST = 8
DECISIVE = 0.5  # of the other law's root mean square
FLOOR = 1e-9  # of the largest M: below it differences of states are rounding
WIDEST = 512  # units of a map whose Jacobian is formed for the slowest eigenvalue


@dataclass(frozen=True, eq=False)
class MemoryFunction(Result):
    """What is left of a step in the input, t steps later.

    Attributes
    ----------
    memory : (steps,)
        M(1), M(2), ..., per unit of the input.
    by_direction : (steps, directions)
        |y(t) - y(t - 1)| / |x| for each direction of the input.
    rate
        Slope of ln envelope per step; 0 remembers for ever. NaN where there is nothing to fit.
    power
        Of the power law; NaN likewise.
    misfits : (2,)
        Root mean square of the two fits, exponential first, in ln M.
    law
        "exponential", "power law", "undecided", or "nothing to fit".
    slowest
        ln of the largest modulus of the Jacobian's eigenvalues at rest: the rate in the end, if that mode is driven and read.
    outcome
        CONVERGED, or DIVERGED where a response overflows.
    checks
        M(1) against the slope of readout and step with respect to the input; that the rest is one.
    """

    memory: Float[np.ndarray, " steps"]
    by_direction: Float[np.ndarray, "steps directions"]
    rate: float
    power: float
    misfits: Float[np.ndarray, " 2"]
    law: str
    slowest: float
    outcome: Outcome
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The law with its rate or power, what the other leaves, and the slowest eigenvalue."""
        if self.law == "nothing to fit":
            return f"0 laws fitted to the memory of {counted(len(self.memory), 'step')}: {self.outcome.value}"
        exponential, power = self.misfits
        law = {
            "undecided": "no law told from the other",
            "power law": "a power law",
            "exponential": "an exponential law",
        }
        text = f"forgets by {law[self.law]}"
        text += f": exp({self.rate:.4g} t) leaves {exponential:.2g} in ln M, t^{-self.power:.3g} leaves {power:.2g}"
        if math.isfinite(self.slowest):
            text += f"; the slowest eigenvalue at rest has rate {self.slowest:.4g}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """M by step, in the coordinates in which a power law is a line."""
        ax = axes_or_new(ax)
        t = np.arange(1, len(self.memory) + 1)
        seen = self.memory > 0
        ax.loglog(t[seen], self.memory[seen], linewidth=1.2)
        ax.set(xlabel="steps since the input changed", ylabel="M")
        return ax


def memory_function(
    dynamics: Dynamics,
    rest: Any,
    *,
    steps: int,
    base: Any = None,
    directions: Any = None,
    size: float = 1e-4,
) -> MemoryFunction:
    """The memory function of a driven map around a state of rest.

    Parameters
    ----------
    rest : (dim,)
        A fixed point under the base input.
    steps
        Followed after the input changed.
    base : (inputs,)
        Zero when left out.
    directions : (directions, inputs)
        Of the input, each scaled to length 1; one for each input when left out.
    size
        Of the step in the input.

    Raises
    ------
    DrivenError
        For a map without a drive vector.
    InputError
        For more than one state, a base or directions of another width, a direction of zero, no steps, or a size not above 0.
    """
    if not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, so there is no input to change")
    state = as_states(dynamics, rest)
    held = as_drive(dynamics, np.zeros(dynamics.inputs) if base is None else base)
    along = as_drive(dynamics, np.eye(dynamics.inputs) if directions is None else np.atleast_2d(directions))
    lengths = along.norm(dim=1, keepdim=True)
    if len(state) != 1 or held.ndim != 1 or not (lengths > 0).all() or steps < 1 or not size > 0:
        raise InputError(
            f"need one state, one base input, directions other than zero, a step and a size above 0, but {len(state)} states, "
            f"a base of shape {tuple(held.shape)}, lengths {lengths.flatten().tolist()[:4]}, {steps=} and {size=} came"
        )
    along = along / lengths
    drive = held + size * torch.cat([along, -along])
    readout = dynamics.readout or (lambda states: states)

    now = state.expand(len(drive), -1)
    said, found = readout(now), np.empty((steps, len(along)))
    with torch.no_grad():
        for t in range(steps):
            now = dynamics(now, drive)
            before, said = said, readout(now)
            up, down = (said - before).chunk(2)
            found[t] = ((up - down).norm(dim=1) / (2 * size)).double().cpu().numpy()
    memory = found.max(axis=1)
    outcome = Outcome.CONVERGED if np.isfinite(memory).all() else Outcome.DIVERGED
    rate, power, misfits = _laws(memory) if outcome is Outcome.CONVERGED else (math.nan, math.nan, np.full(2, np.nan))
    exponential, algebraic = misfits
    law = "undecided"
    if not np.isfinite(misfits).all():
        law = "nothing to fit"
    elif exponential < DECISIVE * algebraic:
        law = "exponential"
    elif algebraic < DECISIVE * exponential:
        law = "power law"
    return MemoryFunction(
        memory=memory, by_direction=found, rate=rate, power=power, misfits=misfits, law=law,
        slowest=_slowest(dynamics, state, held), outcome=outcome, checks=_checks(dynamics, state, held, along, found[0], size),
    )  # fmt: skip


def _laws(memory: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Rate, power and (2,) root mean squares of the fits to the envelope above the floor; NaN with too few points."""
    envelope = np.maximum.accumulate(memory[::-1])[::-1]
    above = int((envelope > FLOOR * envelope[0]).sum()) if envelope[0] > 0 else 0
    t = np.unique(np.geomspace(1, max(1, above), POINTS).astype(np.int64))
    if above < FEWEST:
        return math.nan, math.nan, np.full(2, np.nan)
    logs, slopes, misfits = np.log(envelope[t - 1]), [], []
    for x in (t.astype(np.float64), np.log(t)):
        slope, offset = np.polyfit(x, logs, 1)
        slopes.append(float(slope))
        misfits.append(float(np.sqrt(np.mean((logs - offset - slope * x) ** 2))))
    return slopes[0], -slopes[1], np.array(misfits)


def _slowest(dynamics: Dynamics, state: torch.Tensor, held: torch.Tensor) -> float:
    if dynamics.dim > WIDEST:
        return math.nan
    largest = float(torch.linalg.eigvals(jacobian(dynamics, state, held)[0]).abs().max())
    return math.log(largest) if largest > 0 else -math.inf


def _checks(
    dynamics: Dynamics, state: torch.Tensor, held: torch.Tensor, along: torch.Tensor, first: np.ndarray, size: float
) -> tuple[Check, ...]:
    """A difference over 2 ``size`` is good to some bend times the square of the size, and to rounding over the size."""
    scale = max(1.0, float(state.abs().max()))
    moved = float((dynamics(state, held) - state).abs().max())
    slope = drive_jacobian(dynamics, state, held)[0] @ along.mT
    if dynamics.readout is not None:
        after = dynamics(state, held)
        slope = torch.func.jacrev(lambda s: dynamics.readout(s[None])[0])(after[0]) @ slope  # type: ignore[misc]
    expected = float(slope.norm(dim=0).max())
    tolerance = (1e2 * size**2 + 1e2 * torch.finfo(dynamics.dtype).eps * scale / size) * max(1.0, expected)
    return (
        Check("speed at the state of rest", 0.0, moved, size * 1e-3 * scale),
        Check("M(1): slope with respect to the input", expected, float(first.max()), tolerance),
    )
