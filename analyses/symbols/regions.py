"""Which linear regions does a trajectory visit, how long does it stay in each, and where does it go next?

Method: the region of a state is the bit pattern of its rectified units, on > 0 (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS
2024); regions are ranked by visits. Dwell times and jumps are kept apart: a dwell is an unbroken stay within one run, a jump a
step between two different regions, so the jump matrix has no diagonal. The first and the last dwell of a run are cut by the
record; they are marked, and no mean counts them. Any code does in place of bits: an array of integers, one a step.

Standard errors of occupancies come from batches: runs are cut into equal batches, about 32 in all and never across runs, and
the ratio estimator's variance is taken over them. They hold when a batch is much longer than a dwell. Takes (runs, steps);
costs one sort of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCHES = 32  # the error of a standard error from 32 batches is 13 %
PADDING = -1


@dataclass(frozen=True, eq=False)
class Regions(Result):
    """The visited regions, most visited first.

    Attributes
    ----------
    symbols : (runs, steps)
        The region of each step, by rank; -1 after the end of a run.
    labels : (found,)
        Each region's number: its bits read as a binary number, first unit highest; or the symbol that came.
    bits : (found, relu)
        Which rectified units are on; (found, 0) for symbols.
    visits : (found,)
        Steps in each.
    occupancy : (found,)
        Share of the steps.
    standard_errors : (found,)
        Of the occupancy; NaN with fewer than two batches.
    run_occupancy : (runs, found)
        Of each run; NaN for a run without steps.
    dwell_regions, dwell_steps : (dwells,)
        Every unbroken stay, run after run: where, and for how many steps.
    dwell_censored : (dwells,)
        The stay is the first or the last of its run, so that its length is a lower bound.
    jumps : (found, found)
        Counts of steps from region i to another region j; the diagonal is 0.
    coding
        What one symbol is: "steps", "jumps" or "turns".
    duration
        Recorded steps behind the symbols, before ``jump_coded`` or ``read_at``.
    checks
        Dwells fill the steps; every dwell but the first of a run begins with a jump.
    """

    symbols: Int[np.ndarray, "runs steps"]
    labels: Int[np.ndarray, " found"]
    bits: Bool[np.ndarray, "found relu"]
    visits: Int[np.ndarray, " found"]
    occupancy: Float[np.ndarray, " found"]
    standard_errors: Float[np.ndarray, " found"]
    run_occupancy: Float[np.ndarray, "runs found"]
    dwell_regions: Int[np.ndarray, " dwells"]
    dwell_steps: Int[np.ndarray, " dwells"]
    dwell_censored: Bool[np.ndarray, " dwells"]
    jumps: Int[np.ndarray, "found found"]
    coding: str
    duration: int
    checks: tuple[Check, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The bits of each region, "01"; the symbol where there are none."""
        if self.bits.shape[1]:
            return tuple("".join("01"[bit] for bit in row) for row in self.bits.astype(int))
        return tuple(str(label) for label in self.labels)

    @property
    def coverage(self) -> np.ndarray:
        """(found,) share of the steps in the first k regions: the cumulative coverage curve."""
        return np.cumsum(self.occupancy)

    @property
    def mean_dwells(self) -> np.ndarray:
        """(found,) steps of a stay, over stays that are not censored; NaN where there is none."""
        whole = ~self.dwell_censored
        count = np.bincount(self.dwell_regions[whole], minlength=len(self.labels))
        total = np.bincount(self.dwell_regions[whole], self.dwell_steps[whole], minlength=len(self.labels))
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    @property
    def run_distances(self) -> np.ndarray:
        """(runs, runs) Kolmogorov-Smirnov distances of the runs' coverage curves, each run by its own ranking."""
        curves = np.cumsum(-np.sort(-self.run_occupancy, axis=1), axis=1)
        return np.abs(curves[:, None] - curves[None]).max(axis=2, initial=0.0)

    def coverage_distance(self, other: Regions) -> float:
        """Kolmogorov-Smirnov distance of two coverage curves, each by its own ranking: of two trained models, say."""
        longest = max(len(self.labels), len(other.labels))
        curves = (np.pad(one.coverage, (0, longest - len(one.labels)), constant_values=1.0) for one in (self, other))
        return float(np.abs(np.subtract(*curves)).max(initial=0.0))

    def jump_coded(self) -> Regions:
        """The same runs with one symbol a stay: where the trajectory goes, without how long it stays."""
        change = np.ones(self.symbols.shape, dtype=bool)
        change[:, 1:] = self.symbols[:, 1:] != self.symbols[:, :-1]
        return self._kept(change, "jumps")

    def read_at(self, turns: Bool[np.ndarray, "runs steps"]) -> Regions:
        """The symbols at the marked steps alone: one a turn, when the marks are returns to a section or maxima of a coordinate.

        Raises
        ------
        InputError
            When the marks have another shape than the symbols.
        """
        if turns.shape != self.symbols.shape:
            raise InputError(f"turns are marked for (runs, steps) = {self.symbols.shape}, but {turns.shape} came")
        return self._kept(turns, "turns")

    def summary(self) -> str:
        """How many regions were visited, how few hold most of the time, and how long a stay is."""
        runs, total = len(self.symbols), int(self.visits.sum())
        text = f"{counted(len(self.labels), 'region')} visited in {counted(total, self.coding[:-1])} of {counted(runs, 'run')}"
        if not total:
            return text
        most = int(np.searchsorted(self.coverage, 0.99 - 1e-12)) + 1
        first = f"{self.names[0]} has {self.occupancy[0]:.3f} +- {self.standard_errors[0]:.3f}"
        text += f"; {most} hold 99 % of them ({first})"
        whole = self.dwell_steps[~self.dwell_censored]
        if len(whole):
            text += f"; {counted(len(whole), 'whole stay')} of {whole.mean():.3g} on average"
        return f"{text}; {int(self.dwell_censored.sum())} cut by the ends of runs"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Occupancy of the regions with standard errors, and the coverage curve above them."""
        ax = axes_or_new(ax)
        ranks = np.arange(len(self.labels))
        ax.bar(ranks, self.occupancy, yerr=np.nan_to_num(self.standard_errors), color="C0", label="share of the time")
        ax.plot(ranks, self.coverage, "o-", color="C1", ms=3, label="coverage")
        if len(ranks) <= 16:
            ax.set_xticks(ranks, self.names, fontsize=7)
        ax.set(xlabel="region", ylabel="share", ylim=(0, 1.05))
        ax.legend(fontsize=7)
        return ax

    def _kept(self, keep: np.ndarray, coding: str) -> Regions:
        keep = keep & (self.symbols != PADDING)
        lengths = keep.sum(axis=1)
        symbols = np.full((len(keep), int(lengths.max(initial=0))), PADDING)
        symbols[np.arange(symbols.shape[1]) < lengths[:, None]] = self.labels[self.symbols[keep]]
        bits = dict(zip(self.labels.tolist(), self.bits, strict=True))
        return _measured(symbols, lengths, bits, self.bits.shape[1], coding, self.duration)


def regions(recorded: Any, *, network: PiecewiseLinear | None = None, lengths: Any = None) -> Regions:
    """The regions that a trajectory visits, with occupancies, dwell times and jumps.

    Parameters
    ----------
    recorded
        A Trajectory of the network's states, or symbols as whole numbers from 0, (runs, steps) or (steps,).
    network
        The piecewise-linear network whose rectified units name the regions; with a Trajectory only.
    lengths : (runs,)
        Valid symbols of each run, 0 or more; all when left out. A Trajectory has its own.

    Returns
    -------
    Regions
        (0,) regions when there is no symbol.

    Raises
    ------
    InputError
        When a Trajectory comes without its network, or symbols with one; when the widths differ; when symbols are not whole
        numbers from 0, or the lengths do not fit them.
    """
    if isinstance(recorded, Trajectory):
        if network is None or lengths is not None:
            raise InputError(
                "a Trajectory needs the network that names its regions (network=), and has its own lengths"
            )
        dim, relu = len(network.A), network.relu
        if recorded.states.shape[2] != dim or relu > 62:
            came = f"{recorded.states.shape[2]} units and {relu} rectified"
            raise InputError(
                f"regions are read from states of {dim} units, at most 62 of them rectified, but {came} came"
            )
        on = network.regions(torch.from_numpy(np.array(recorded.states)).reshape(-1, dim)).numpy()
        symbols = (on @ (1 << np.arange(relu, dtype=np.int64)[::-1])).reshape(recorded.states.shape[:2])
        patterns = {int(label): (int(label) >> np.arange(relu)[::-1]) & 1 == 1 for label in np.unique(symbols)}
        assert recorded.lengths is not None
        return _measured(symbols, recorded.lengths, patterns, relu, "steps", int(recorded.lengths.sum()))

    symbols = np.atleast_2d(np.asarray(recorded))
    if network is not None or symbols.ndim != 2 or (symbols.size and symbols.dtype.kind not in "biu"):
        raise InputError(
            f"symbols are whole numbers (runs, steps) or (steps,) and come without a network, but {symbols.dtype} of shape "
            f"{symbols.shape} came{' with one' if network is not None else ''}"
        )
    spans = np.full(len(symbols), symbols.shape[1]) if lengths is None else np.asarray(lengths)
    if spans.shape != (len(symbols),) or ((spans < 0) | (spans > symbols.shape[1])).any():
        raise InputError(f"lengths give each of {len(symbols)} runs 0 to {symbols.shape[1]} symbols, but {spans} came")
    if (symbols[np.arange(symbols.shape[1]) < spans[:, None]] < 0).any():
        raise InputError("symbols are whole numbers from 0, but a negative one came within the lengths")
    return _measured(symbols.astype(np.int64), spans.astype(np.int64), {}, 0, "steps", int(spans.sum()))


def _measured(
    codes: np.ndarray, lengths: np.ndarray, patterns: dict[int, np.ndarray], relu: int, coding: str, duration: int
) -> Regions:
    """Everything counted from codes (runs, steps), valid below ``lengths``."""
    runs, steps = codes.shape
    valid = np.arange(steps) < lengths[:, None]
    labels, visits = np.unique(codes[valid], return_counts=True)
    order = np.lexsort((labels, -visits))
    symbols = np.full(codes.shape, PADDING)
    symbols[valid] = order.argsort()[np.searchsorted(labels, codes[valid])]
    labels, visits, found = labels[order], visits[order], len(labels)

    run = np.broadcast_to(np.arange(runs)[:, None], codes.shape)[valid]
    place = np.broadcast_to(np.arange(steps), codes.shape)[valid]
    flat = symbols[valid]
    by_run = np.bincount(run * found + flat, minlength=runs * found).reshape(runs, found)
    share = np.divide(by_run, lengths[:, None], out=np.full(by_run.shape, np.nan), where=lengths[:, None] > 0)

    begins = np.ones(len(flat), dtype=bool)
    begins[1:] = (flat[1:] != flat[:-1]) | (run[1:] != run[:-1])
    at = np.flatnonzero(begins)
    first = place[at] == 0
    last = np.append(first[1:], True)[: len(at)]
    moves = flat[at[:-1]] * found + flat[at[1:]]
    jumps = np.bincount(moves[~first[1:]], minlength=found * found).reshape(found, found)
    dwells = np.diff(at, append=len(flat)).astype(np.int64)
    return Regions(
        symbols=symbols,
        labels=labels.astype(np.int64),
        bits=np.array([patterns[int(label)] for label in labels] if relu else [], dtype=bool).reshape(found, relu),
        visits=visits.astype(np.int64),
        occupancy=visits / max(len(flat), 1),
        standard_errors=_batch_errors(flat, run, place, lengths, found),
        run_occupancy=share,
        dwell_regions=flat[at],
        dwell_steps=dwells,
        dwell_censored=first | last,
        jumps=jumps.astype(np.int64),
        coding=coding,
        duration=duration,
        checks=(
            Check("steps in dwells", float(len(flat)), float(dwells.sum()), 0.0),
            Check("dwells begun by jumps", float(len(at) - (lengths > 0).sum()), float(jumps.sum()), 0.0),
        ),
    )


def _batch_errors(flat: np.ndarray, run: np.ndarray, place: np.ndarray, lengths: np.ndarray, found: int) -> np.ndarray:
    """(found,) standard errors of the ratio (steps in a region) / (steps) over batches."""
    per_run = -(-BATCHES // max(int((lengths > 0).sum()), 1))
    batch = run * per_run + place * per_run // np.maximum(lengths, 1)[run]
    cells = len(lengths) * per_run
    inside = np.bincount(batch * found + flat, minlength=cells * found).reshape(cells, found)
    sizes = inside.sum(axis=1)
    inside, sizes = inside[sizes > 0], sizes[sizes > 0]
    if len(sizes) < 2:
        return np.full(found, np.nan)
    apart = inside - sizes[:, None] * (inside.sum(axis=0) / sizes.sum())
    return np.sqrt(len(sizes) / (len(sizes) - 1) * (apart**2).sum(axis=0)) / sizes.sum()
