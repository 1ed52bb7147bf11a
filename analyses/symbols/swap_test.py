"""Do classes of states mean something to the network itself? States are exchanged within and across classes, and it runs on.

Classes come from anywhere: regions of a surrogate that was fitted to the states, clusters, labels. They describe the network,
and not only the surrogate, if a state may be replaced by another of its class without consequence, but not by one of another.

Method: an interchange intervention (Geiger, Lu, Icard, Potts, NeurIPS 2021) on whole states. Of K states drawn evenly over the
classes, each recipient is replaced by each donor and runs on under the recipient's own drives; the effect of a swap is the root
mean square, over the steps, of what it changes in the readout. Two states of one run within the horizon of each other are
never a pair. The statistic is the share 1 - within / across of the mean effects, against three nulls drawn over the same K x K
effects. Nearby states are alike anyway, so beside random partitions of equal sizes there are compact ones (each state assigned
to one of as many random states, at the least sum of squared distances), and the share again for across swaps reweighted to the
distances of the within ones. A compact partition may find the very classes, so what counts is how many do better. Classes may
lie too far apart for equal distances, so effects per distance are compared too, which a linear map has alike.

Takes a map, a Trajectory and a class for each state; costs K^2 runs of ``horizon`` steps, and K^3 for each compact partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols._controls import evenly
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 50  # of distance, with as many within swaps in each
NUMBERS = 1 << 22  # held at once
TINY = 1e-300
COMPARED = 0.2  # of the within swaps: with fewer that have across ones at like distance, nothing is read from these
MARGIN = (
    0.05  # least share at equal distance: on linear maps, where distance is all, the bins' widths alone left up to 0.01
)
APART = 2.0  # times the effect, or the effect per distance, is told from as much
REPLAYED = 1e-6  # of the largest state: what float32 recordings replay to


@dataclass(frozen=True, eq=False)
class SwapTest(Result):
    """Effects of swaps, in units of the readout.

    Attributes
    ----------
    classes : (classes,)
        The labels.
    sizes : (classes,)
        States drawn of each.
    effects : (classes, classes)
        Mean effect when a state of the row's class is replaced by one of the column's; NaN where there is no pair.
    within, across
        Mean effect over all swaps in a class, and between two.
    matched_within, matched_across
        The same over within swaps that have across ones at like distance, and over those, reweighted; NaN without any.
    matched
        Share of the within swaps that have across ones at like distance.
    moved_within, moved_across
        Mean distance of the state put in from the one replaced.
    overflowed
        Swaps whose run was not finite; they are in no mean.
    horizon
        Steps that were run on.
    nulls
        Of the share 1 - within / across: "random partition", "compact partition"; of the matched share: "equal distance". None
        where the share has no value.
    checks
        Unchanged states run on as was recorded.
    """

    classes: Int[np.ndarray, " classes"]
    sizes: Int[np.ndarray, " classes"]
    effects: Float[np.ndarray, "classes classes"]
    within: float
    across: float
    matched_within: float
    matched_across: float
    matched: float
    moved_within: float
    moved_across: float
    overflowed: int
    horizon: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def share(self) -> float:
        """1 - within / across: 1 if a class is all that matters, 0 if it is nothing; NaN without across swaps."""
        return 1 - self.within / self.across if self.across else np.nan

    @property
    def compared(self) -> np.ndarray:
        """(classes, classes) bool: different classes, with swaps between them, either way, and within both."""
        known = np.isfinite(self.effects + self.effects.T)
        own = np.diag(known)
        return known & own[:, None] & own & ~np.eye(len(own), dtype=bool)

    @property
    def told_apart(self) -> np.ndarray:
        """(classes, classes) bool: swaps between the two, either way, do more than twice what swaps within either do."""
        own = np.diag(self.effects)
        least = np.minimum(self.effects, self.effects.T)
        return self.compared & (least > APART * np.maximum(own[:, None], own[None, :]))

    @property
    def bettered(self) -> float:
        """The part of the compact partitions whose share is larger; NaN without any."""
        return float((self.nulls[1].draws > self.nulls[1].observed + 1e-9).mean()) if self.nulls else np.nan

    @property
    def interchangeable(self) -> bool:
        """Whether states of a class can stand for each other, beyond being near: random partitions are beaten, at most 5 % of
        the compact ones do better, and across swaps do more at equal distance (where a fifth of the within swaps have such
        ones) or twice as much per distance."""
        if not self.nulls or not self.nulls[0].beaten or self.share <= 0 or self.bettered > 0.05:
            return False
        equal = self.nulls[2:] if self.matched >= COMPARED else ()
        at_equal_distance = any(null.beaten and null.observed >= MARGIN for null in equal)
        return at_equal_distance or self.across * self.moved_within > APART * self.within * self.moved_across

    @property
    def confirmed(self) -> bool:
        """Whether the network itself has these classes: interchangeable within, and every pair that was compared told apart."""
        return self.interchangeable and bool((self.told_apart == self.compared).all())

    def summary(self) -> str:
        """How many pairs of classes are told apart, the effects beside their nulls, and the verdict."""
        pairs = int(self.compared.sum()) // 2
        text = (
            f"{int(self.told_apart.sum()) // 2} of {counted(pairs, 'pair')} of classes are told apart; over {self.horizon} "
            f"steps a swap within a class changes the readout by {self.within:.3g}, across classes by {self.across:.3g}"
        )
        if self.overflowed:
            text += f"; {counted(self.overflowed, 'swap')} overflowed"
        if not self.nulls:
            return f"{text}; there are too few classes or states to compare"
        random, compact = self.nulls[:2]
        text += (
            f", so the class holds {self.share:.3g} of the effect (random partitions: {random.draws.max():.2g} at most, "
            f"p = {random.p:.2g}; compact ones: median {np.median(compact.draws):.2g}, {self.bettered:.0%} of them do better)"
        )
        gains = self.within / max(self.moved_within, TINY), self.across / max(self.moved_across, TINY)
        text += f"; per distance moved {gains[0]:.2g} against {gains[1]:.2g}"
        if self.matched >= COMPARED:
            text += f", and at like distance, which {self.matched:.0%} of the within swaps share with across ones, "
            text += f"{self.matched_within:.3g} against {self.matched_across:.3g}"
            text += "".join(f" (p = {null.p:.2g})" for null in self.nulls[2:])
        else:
            text += "; across swaps are not as near as within ones"
        if self.confirmed:
            return f"{text}: the network itself has these classes"
        finer = self.interchangeable
        return (
            f"{text}: {'finer than the classes of the network' if finer else 'not shown to be classes of the network'}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean effect by the classes of recipient and donor."""
        ax = axes_or_new(ax)
        if self.effects.size:
            image = ax.imshow(self.effects, cmap="Blues", vmin=0)
            ax.figure.colorbar(image, ax=ax, label="change of the readout")
        ticks = range(len(self.classes))
        ax.set_xticks(ticks, [str(label) for label in self.classes], fontsize=7)
        ax.set_yticks(ticks, [str(label) for label in self.classes], fontsize=7)
        ax.set(xlabel="class of the state put in", ylabel="class of the state replaced")
        return ax


def swap_test(
    dynamics: Dynamics,
    trajectory: Trajectory,
    classes: Any,
    *,
    horizon: int = 20,
    readout: Callable[[Tensor], Tensor] | None = None,
    states: int = 128,
    partitions: int = 199,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> SwapTest:
    """Exchange states of a network within and across classes, and compare what follows.

    Parameters
    ----------
    dynamics, trajectory
        The network and states that it visited, with their drives if it takes any.
    classes : (runs, steps) of whole numbers
        Of each state; a negative one leaves the state out.
    horizon
        Steps run on after a swap. Only states with as many recorded drives after them take part.
    readout
        (batch, dim) -> (batch, outputs), where effects are measured; the network's own when left out, else the state.
    states
        Most states drawn, evenly over the classes.
    partitions
        Draws of every null.
    generator
        A fixed seed when left out.
    watch
        Wraps the chunks of recipients: progress. Stopped early, the recipients so far count alone.

    Returns
    -------
    SwapTest
        Means are NaN, and there are no nulls, where no two classes can be compared. Labels that were found on the effects
        themselves would make the nulls void: find them on other data.

    Raises
    ------
    InputError
        When the classes do not fit the trajectory, ``horizon`` or ``partitions`` is below 1, or ``states`` below 2.
    DrivenError
        When the map takes drives and the trajectory holds none.
    """
    labels = np.asarray(classes)
    runs, steps, _ = trajectory.states.shape
    if labels.shape != (runs, steps) or labels.dtype.kind not in "iub":
        raise InputError(
            f"classes are whole numbers of shape ({runs}, {steps}), one a state, but {labels.dtype} {labels.shape} came"
        )
    if min(horizon, partitions, states - 1) < 1:
        raise InputError(
            f"horizon and partitions are at least 1 and states 2, but {horizon}, {partitions} and {states} came"
        )
    if dynamics.driven and trajectory.drives is None:
        raise DrivenError(f"{dynamics.name!r} is driven, but the trajectory holds no drives to run on with")
    generator = generator or np.random.default_rng(0)
    run, step = _drawn(trajectory, labels.astype(np.int64), horizon, states, generator)
    chosen = trajectory.states[run, step]
    names, own, sizes = np.unique(labels[run, step].astype(np.int64), return_inverse=True, return_counts=True)

    says = readout or dynamics.readout or (lambda x: x)
    chunks = max(1, NUMBERS // max(1, len(run) * dynamics.dim))
    parts = list(watch(_swapped(dynamics, trajectory, run, step, horizon, says, chunks), -(-len(run) // chunks)))
    K, done = len(run), sum(len(effects) for effects, _ in parts)
    effects = np.full((K, K), np.nan)
    effects[:done] = np.concatenate([np.zeros((0, K)), *(part for part, _ in parts)])
    strayed = max((error for _, error in parts), default=0.0)

    apart = (run[:, None] != run) | (np.abs(step[:, None] - step) > horizon)
    overflowed = int((~np.isfinite(effects[:done]) & apart[:done]).sum())
    pairs = apart & np.isfinite(effects)
    distances = np.linalg.norm(chosen[:, None] - chosen, axis=2)
    table = _table(effects, pairs, distances, own)
    within, across, matched_within, matched_across, matched = _means(own[None], table)[0]
    shares = np.array(
        [1 - within / across if across else np.nan, 1 - matched_within / matched_across if matched else np.nan]
    )

    nulls: tuple[Null, ...] = ()
    if np.isfinite(shares[0]):
        means = _means(np.stack([generator.permutation(own) for _ in range(partitions)]), table)
        compact = _means(np.stack([_compact(distances, sizes, generator) for _ in range(partitions)]), table)
        nulls = tuple(
            Null(name, hypothesis, "state", draws[np.isfinite(draws)], float(observed))
            for name, hypothesis, draws, observed in (
                ("random partition", "the class does not matter", _shares(means)[:, 0], shares[0]),
                ("compact partition", "any compact parts of these sizes do as well", _shares(compact)[:, 0], shares[0]),
                ("equal distance", "at equal distance the class does not matter", _shares(means)[:, 1], shares[1]),
            )
            if np.isfinite(observed) and np.isfinite(draws).any()
        )
    scale = max(1.0, float(np.abs(chosen).max(initial=0)))
    return SwapTest(
        classes=names,
        sizes=sizes.astype(np.int64),
        effects=_by_class(effects, pairs, own, len(names)),
        within=float(within),
        across=float(across),
        matched_within=float(matched_within),
        matched_across=float(matched_across),
        matched=float(matched),
        moved_within=_mean(distances[pairs & (own[:, None] == own)]),
        moved_across=_mean(distances[pairs & (own[:, None] != own)]),
        overflowed=overflowed,
        horizon=horizon,
        nulls=nulls,
        checks=(Check("unchanged states off what was recorded", 0.0, strayed, REPLAYED * scale),),
    )


def _drawn(
    trajectory: Trajectory, labels: np.ndarray, horizon: int, states: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(run, step) of states that are followed by ``horizon`` recorded ones, as evenly over the classes as they allow."""
    assert trajectory.lengths is not None
    lasting = np.arange(labels.shape[1]) < trajectory.lengths[:, None] - horizon
    places = np.argwhere(lasting & (labels >= 0))
    run, step = places[evenly(labels[tuple(places.T)], states, generator)].T
    return run, step


def _swapped(
    dynamics: Dynamics,
    trajectory: Trajectory,
    run: np.ndarray,
    step: np.ndarray,
    horizon: int,
    readout: Callable[[Tensor], Tensor],
    recipients: int,
) -> Iterator[tuple[np.ndarray, float]]:
    """Effects (recipients, K) of putting each of the K states in place of some, and how far unchanged ones leave the record."""
    K = len(run)
    donors = as_states(dynamics, trajectory.states[run, step]) if K else torch.zeros(0, dynamics.dim)
    for first in range(0, K, recipients):
        rows = slice(first, first + recipients)
        count = len(run[rows])
        now = donors.repeat(count, 1)
        same = torch.arange(count) * K + torch.arange(first, first + count)
        total, strayed = torch.zeros(count, K, dtype=torch.float64), 0.0
        with torch.no_grad():
            for t in range(horizon):
                drive = None
                if dynamics.driven:
                    assert trajectory.drives is not None
                    held = as_drive(dynamics, trajectory.drives[run[rows], step[rows] + t])
                    drive = held.repeat_interleave(K, 0)
                now = dynamics(now, drive)
                said = readout(now).double().cpu()
                said = said.reshape(count, K, -1)
                usual = said.reshape(count * K, -1)[same][:, None]
                total += (said - usual).square().sum(2)
                recorded = trajectory.states[run[rows], step[rows] + t + 1]
                strayed = max(strayed, float(np.abs(now[same].double().cpu().numpy() - recorded).max()))
        yield (total / horizon).sqrt().numpy(), strayed


def _table(effects: np.ndarray, pairs: np.ndarray, distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(K^2, 2, BINS + 1): each pair's count and effect in its bin of distance; the last bin is beyond all within swaps."""
    admitted = distances[pairs & (own[:, None] == own)]
    edges = np.quantile(admitted, np.linspace(0, 1, BINS + 1)[1:]) if len(admitted) else np.full(BINS, -np.inf)
    bins = np.searchsorted(edges, distances.ravel())
    table = np.zeros((effects.size, 2, BINS + 1))
    here = np.flatnonzero(pairs)
    table[here, 0, bins[here]] = 1.0
    table[here, 1, bins[here]] = effects.ravel()[here]
    return table


def _means(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(partitions, 5): within, across, and both at equal distance with the share of within swaps that is matched."""
    flat = table.reshape(len(table), 2 * (BINS + 1))
    many = max(1, NUMBERS // max(1, len(flat)))
    same = [
        (part[:, :, None] == part[:, None, :]).reshape(len(part), len(table)).astype(np.float64) @ flat
        for part in np.split(labels, range(many, len(labels), many))
    ]
    inside = np.concatenate(same).reshape(len(labels), 2, BINS + 1)
    outside = table.sum(axis=0) - inside
    (n, s), (m, r) = np.moveaxis(inside, 1, 0), np.moveaxis(outside, 1, 0)
    some = [np.where(count.sum(axis=1) > 0.5, count.sum(axis=1), np.nan) for count in (n, m)]
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (n > 0.5) & (m > 0.5)
        both[:, -1] = False
        weight = np.where(both, n, 0.0).sum(axis=1)
        matched_within = np.where(both, s, 0.0).sum(axis=1) / weight
        matched_across = np.where(both, n * r / m, 0.0).sum(axis=1) / weight
        return np.column_stack(
            [s.sum(1) / some[0], r.sum(1) / some[1], matched_within, matched_across, weight / np.maximum(n.sum(1), 1)]
        )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _shares(means: np.ndarray) -> np.ndarray:
    """(partitions, 2): 1 - within / across, over all swaps and at equal distance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - means[:, [0, 2]] / means[:, [1, 3]]


def _compact(distances: np.ndarray, sizes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(K,) a partition into parts of these sizes around random states, of least sum of squared distances to them."""
    centres = generator.choice(len(distances), len(sizes), replace=False)
    places = np.repeat(np.arange(len(sizes)), sizes)
    _, taken = linear_sum_assignment(distances[:, centres[places]] ** 2)
    return places[taken]


def _by_class(effects: np.ndarray, pairs: np.ndarray, own: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) mean effect by the classes of recipient and donor."""
    member = np.eye(classes)[own] if len(own) else np.zeros((0, classes))
    counts = member.T @ pairs @ member
    sums = member.T @ np.where(pairs, effects, 0.0) @ member
    return np.divide(sums, counts, out=np.full((classes, classes), np.nan), where=counts > 0)
