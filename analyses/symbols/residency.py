"""How long does what a network says last, from each state that it visits, under fresh noise: rests, kicks and passages?

Method: from each of the drawn states, ``replicas`` runs under drives drawn anew; the residence time is the step at which the
most probable output first differs from that of the state, at most ``cap``. States are named by their mean time: transitions
below ``transition`` steps, kick zones up to ``cluster``, clusters above if the output there is also more probable than
``confident`` (Torre et al., RNNs emulating hidden Markov models (2025), and its code, for the three classes and their bounds).
In a Markov chain of outputs all states that say the same have the same distribution of times; the null exchanges single times
among such states. A least-squares linear map under the same drives and readout is run beside the network, since it has states
near and far from a border as well.

Takes a driven map and a Trajectory with its drives; costs 2 x states x replicas x cap steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLASSES = ("transition", "kick zone", "cluster", "unconfident")
REPLAYED = 1e-6  # of the largest state: what float32 recordings replay to


@dataclass(frozen=True, eq=False)
class Residency(Result):
    """Residence times of visited states.

    Attributes
    ----------
    runs, steps : (states,)
        Where each state stands in the trajectory.
    times : (states,)
        Mean steps until the most probable output changes, replicas that reached the cap counted with it.
    symbols : (states,)
        The most probable output of each state.
    confidence : (states,)
        Its probability there (softmax of the readout).
    classes : (states,)
        0 transition, 1 kick zone, 2 cluster, 3 none of these (lasting, but without a confident output).
    shares, linear_shares : (4,)
        Of the states, in each class; and under the linear map. NaN without a state.
    spread, linear_spread
        Share of the variance of single times, among states that say the same, that lies between states; and under the linear
        map. 0 in a Markov chain of outputs but for the draw, 1 where the time is a function of the state.
    capped
        Share of replicas in which the output never changed.
    replicas, cap
        As asked.
    transition, cluster, confident
        The bounds of the classes.
    nulls
        Of the spread.
    checks
        The recorded states follow from one another under the recorded drives.
    """

    runs: Int[np.ndarray, " states"]
    steps: Int[np.ndarray, " states"]
    times: Float[np.ndarray, " states"]
    symbols: Int[np.ndarray, " states"]
    confidence: Float[np.ndarray, " states"]
    classes: Int[np.ndarray, " states"]
    shares: Float[np.ndarray, " classes"]
    linear_shares: Float[np.ndarray, " classes"]
    spread: float
    linear_spread: float
    capped: float
    replicas: int
    cap: int
    transition: float
    cluster: float
    confident: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many states are of each class, how far times depend on the state, and what the linear map gives."""
        if not len(self.times):
            return "0 states were followed"
        text = ", ".join(f"{int((self.classes == kind).sum())} {name}" for kind, name in enumerate(CLASSES))
        text = f"{counted(len(self.times), 'state')} followed {self.replicas} times under fresh drives: {text}"
        text += f" (bounds {self.transition:g} and {self.cluster:g} steps, probability {self.confident:g})"
        text += f"; {self.capped:.0%} of the runs reach {self.cap} steps unchanged"
        for null in self.nulls:
            text += f"; {self.spread:.2f} of the variance of times lies between states that say the same "
            text += f"({null.name} {np.median(null.draws):.2f}, {_verdict(null)}; linear map {self.linear_spread:.2f})"
        linear = ", ".join(f"{share:.0%} {name}" for share, name in zip(self.linear_shares, CLASSES, strict=True))
        return f"{text}; the linear map has {linear}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Residence times, most lasting first, by class."""
        ax = axes_or_new(ax)
        order = np.argsort(-self.times)
        for kind, name in enumerate(CLASSES):
            at = np.flatnonzero(self.classes[order] == kind)
            if len(at):
                ax.plot(at, self.times[order][at], ".", markersize=3, label=name)
        ax.axhline(self.transition, color="0.7", linewidth=0.8)
        ax.axhline(self.cluster, color="0.7", linewidth=0.8)
        ax.set(xlabel="state, by residence time", ylabel="steps until the output changes", yscale="log")
        if len(self.times):
            ax.legend(frameon=False, fontsize=7)
        return ax


def residency(
    dynamics: Dynamics,
    trajectory: Trajectory,
    *,
    states: int = 400,
    replicas: int = 20,
    cap: int = 50,
    transition: float = 2.0,
    cluster: float = 8.0,
    confident: float = 0.8,
    readout: Callable[[Tensor], Tensor] | None = None,
    draws: int = 199,
    generator: np.random.Generator | None = None,
) -> Residency:
    """Follow visited states under fresh drives until what they say changes.

    Parameters
    ----------
    dynamics, trajectory
        A driven map and states that it visited, with their drives. Fresh drives are drawn, step by step, from all recorded
        ones, which suits noise that is independent from step to step.
    states
        Most states drawn.
    replicas, cap
        Runs from each state, and their steps.
    transition, cluster, confident
        Bounds of the classes: steps, steps, probability.
    readout
        (batch, dim) -> (batch, outputs) logits, two at least; the network's own when left out.
    draws
        Of the null.
    generator
        Of states, drives and exchanges; a fixed seed when left out.

    Raises
    ------
    InputError
        When the map has no readout of two outputs, a number is below 1, or ``cluster`` is below ``transition``.
    DrivenError
        When the map takes no drive vector, or the trajectory holds none.
    """
    if not dynamics.inputs or trajectory.drives is None or trajectory.drives.shape[1] == 0:
        lacking = "the trajectory holds none" if dynamics.inputs else f"{dynamics.name!r} takes no drive vector"
        raise DrivenError(f"residency follows states under drives drawn from those of the trajectory, but {lacking}")
    if min(states, replicas, cap) < 1 or not 0 < transition <= cluster:
        raise InputError(
            f"states, replicas and cap are at least 1 and 0 < transition <= cluster, but {states}, {replicas}, {cap}, "
            f"{transition:g} and {cluster:g} came"
        )
    says = readout or dynamics.readout
    if says is None:
        raise InputError(f"{dynamics.name!r} says nothing: pass readout=, (batch, dim) -> (batch, outputs)")
    generator = generator or np.random.default_rng(0)
    now, then = trajectory.pairs()
    drives = trajectory.drives[trajectory.valid[:, 1:]]
    places = np.argwhere(trajectory.valid)
    chosen = places[np.sort(generator.permutation(len(places))[:states])]
    starts = as_states(dynamics, trajectory.states[tuple(chosen.T)])
    logits = says(starts)
    if logits.shape[1] < 2:
        raise InputError(f"the readout gives {logits.shape[1]} output, so none is more probable than another")

    probability, symbols = torch.softmax(logits, dim=1).max(dim=1)
    pool = as_drive(dynamics, drives)
    fresh = torch.from_numpy(generator.integers(len(drives), size=(cap, len(starts) * replicas)))
    with torch.no_grad():
        lasted = _lasted(dynamics, says, starts, symbols, pool, fresh)
        linear = _lasted(_linear_map(now, drives, then, pool), says, starts, symbols, pool, fresh).clip(max=cap)
        replayed = dynamics(as_states(dynamics, now), pool).double().cpu().numpy()
    single = lasted.clip(max=cap)

    scale = max(1.0, _furthest(then))
    said, sure = symbols.cpu().numpy(), probability.double().cpu().numpy()
    bounds = (transition, cluster, confident)
    kinds = _classes(single.mean(axis=1), sure, *bounds)
    observed = _spread(single, said)
    drawn = np.array([_spread(_exchanged(single, said, generator), said) for _ in range(draws)])
    nulls: tuple[Null, ...] = ()
    if np.isfinite(observed) and draws:
        nulls = (
            Null("times exchanged", "states that say the same last equally long", "state", drawn, observed, "spread"),
        )
    return Residency(
        runs=chosen[:, 0],
        steps=chosen[:, 1],
        times=single.mean(axis=1),
        symbols=said,
        confidence=sure,
        classes=kinds,
        shares=_shares(kinds),
        linear_shares=_shares(_classes(linear.mean(axis=1), sure, *bounds)),
        spread=observed,
        linear_spread=_spread(linear, said),
        capped=float(np.isinf(lasted).mean()) if lasted.size else np.nan,
        replicas=replicas,
        cap=cap,
        transition=float(transition),
        cluster=float(cluster),
        confident=float(confident),
        nulls=nulls,
        checks=(Check("recorded states off what the map gives", 0.0, _furthest(replayed - then), REPLAYED * scale),),
    )


def _lasted(
    step: Callable[[Tensor, Tensor], Tensor],
    says: Callable[[Tensor], Tensor],
    starts: Tensor,
    symbols: Tensor,
    pool: Tensor,
    fresh: Tensor,
) -> np.ndarray:
    """(states, replicas) steps until the output first differs from ``symbols``; infinite where it never does.

    ``fresh``, (cap, states x replicas), says which drive of the pool each run takes at each step.
    """
    replicas = fresh.shape[1] // len(starts) if len(starts) else 1
    now, own = starts.repeat_interleave(replicas, 0), symbols.repeat_interleave(replicas)
    lasted = torch.full((len(now),), float("inf"), dtype=torch.float64, device=now.device)
    for at, which in enumerate(fresh.to(now.device), 1):
        now = step(now, pool[which])
        lasted[(says(now).argmax(dim=1) != own) & torch.isinf(lasted)] = at
    return lasted.reshape(len(starts), replicas).cpu().numpy()


def _linear_map(
    now: np.ndarray, drives: np.ndarray, then: np.ndarray, like: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The least-squares x' = A x + B u + c of the recorded transitions."""
    seen = np.column_stack([now, drives, np.ones(len(now))])
    weights = torch.from_numpy(np.linalg.lstsq(seen, then, rcond=None)[0]).to(like)
    return lambda states, drive: torch.cat([states, drive, torch.ones_like(states[:, :1])], dim=1) @ weights


def _classes(
    times: np.ndarray, confidence: np.ndarray, transition: float, cluster: float, confident: float
) -> np.ndarray:
    lasting = np.where(confidence > confident, 2, 3)
    return np.where(times < transition, 0, np.where(times <= cluster, 1, lasting)).astype(np.int64)


def _shares(classes: np.ndarray) -> np.ndarray:
    return (
        np.bincount(classes, minlength=len(CLASSES)) / len(classes) if len(classes) else np.full(len(CLASSES), np.nan)
    )


def _spread(single: np.ndarray, symbols: np.ndarray) -> float:
    """Share of the variance about the mean of each symbol that lies between states; NaN where nothing varies."""
    names, own = np.unique(symbols, return_inverse=True)
    if not len(names):
        return np.nan
    means = np.bincount(own, single.mean(axis=1)) / np.bincount(own)
    total = float(((single - means[own, None]) ** 2).mean())
    return float(((single.mean(axis=1) - means[own]) ** 2).mean()) / total if total > 0 else np.nan


def _exchanged(single: np.ndarray, symbols: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Single times in random order among the states that say the same."""
    drawn = single.copy()
    for symbol in np.unique(symbols):
        rows = np.flatnonzero(symbols == symbol)
        drawn[rows] = generator.permutation(single[rows].reshape(-1)).reshape(len(rows), -1)
    return drawn


def _furthest(differences: np.ndarray) -> float:
    return float(np.abs(differences).max(initial=0))


def _verdict(null: Null) -> str:
    return f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
