"""Does a stack of layers pull a displaced state back to its path?

Method: at layer k the state of each text is displaced over an n x n grid in the plane of the first two principal directions of
all recorded states, and stepped through the layers that are left. The ratio at a later site is the distance to the undisplaced
path there over the distance at k, its geometric mean over the grid, then over texts; intervals by bootstrap over texts. In a
stream whose norm grows, distances grow as well, so the ratio is given a second time in units of the path's norm. Whether the
network learned it is asked of random-weight twins. Source: Fernando and Guitchounts, Transformer Dynamics, arXiv 2502.12131
(there a grid in the plane of one prompt, without an interval or a control).

Takes one driven map of clock "layer" a text, and its recorded states; costs texts x layers x sites steps of n^2 states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.maps._blocks import fitting, replayed
from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.trajectories._depth import SCRAMBLED, TWIN, twin_null
from hooks.dynamics import Dynamics, as_states
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 999  # of the texts


@dataclass(frozen=True, eq=False)
class Teleport(Result):
    """What becomes of displacements put in at several layers.

    Attributes
    ----------
    layers : (layers,)
        Where states were displaced.
    ratios, low, high : (layers, sites)
        Distance to the path over the first distance, and its 95 % interval over texts; NaN before the layer. No interval
        for a single text.
    relative_ratios, relative_low, relative_high : (layers, sites)
        The same of distances in units of the path's norm at their site.
    sizes : (layers,)
        Half the grid's width.
    texts, displaced
        How many texts, and states displaced in each at each layer.
    outcome
        OUT_OF_TIME where a budget ended it; the numbers are over the texts that were done.
    nulls
        Of the logarithm of each layer's last ratio: twins.
    checks
        The maps replay the recorded path.
    """

    layers: Int[np.ndarray, " layers"]
    ratios: Float[np.ndarray, "layers sites"]
    low: Float[np.ndarray, "layers sites"]
    high: Float[np.ndarray, "layers sites"]
    relative_ratios: Float[np.ndarray, "layers sites"]
    relative_low: Float[np.ndarray, "layers sites"]
    relative_high: Float[np.ndarray, "layers sites"]
    sizes: Float[np.ndarray, " layers"]
    texts: int
    displaced: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def contracting(self) -> np.ndarray:
        """(layers,) whether the interval of the last ratio lies below 1."""
        return self.high[:, -1] < 1

    def summary(self) -> str:
        """From how many layers displacements shrink, then each layer's last ratio."""
        text = f"from {int(self.contracting.sum())} of {counted(len(self.layers), 'layer')} displacements shrink"
        text += f" ({counted(self.texts, 'text')})"
        for row, layer in enumerate(self.layers.tolist()):
            interval = f"{self.low[row, -1]:.3g} to {self.high[row, -1]:.3g}"
            text += f"; from layer {layer} to {self.ratios[row, -1]:.3g} ({interval}), "
            text += f"{self.relative_ratios[row, -1]:.3g} of the path's norm"
            for null in self.nulls:
                if null.statistic == _statistic(layer):
                    text += f", {null.name} {np.exp(np.median(null.draws)):.3g} ({'' if null.beaten else 'not '}beaten)"
        return text if self.nulls else f"{text}; no twins were given, so nothing says that training did it"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Ratio by site, a line a layer with its interval."""
        ax = axes_or_new(ax)
        sites = np.arange(self.ratios.shape[1])
        for row, layer in enumerate(self.layers.tolist()):
            (line,) = ax.plot(sites, self.ratios[row], marker=".", label=f"layer {layer}")
            if np.isfinite(self.low[row]).any():
                ax.fill_between(sites, self.low[row], self.high[row], color=line.get_color(), alpha=0.2)
        ax.axhline(1.0, color="0.6", linewidth=1, linestyle=":")
        if (self.ratios[np.isfinite(self.ratios)] > 0).all():
            ax.set_yscale("log")
        ax.set(xlabel="site", ylabel="distance to the path over the first")
        ax.legend(frameon=False)
        return ax


@dataclass(frozen=True)
class _Stepped:
    """Logarithms of the ratios (texts, layers, sites) and the worst miss of a replay, of the texts so far."""

    logs: np.ndarray
    missed: float


def teleport(
    dynamics: Sequence[Dynamics],
    trajectory: Trajectory,
    *,
    layers: Sequence[int] | None = None,
    grid: int = 5,
    extent: float = 1.0,
    twins: Sequence[Teleport] = (),
    scrambled: Sequence[Teleport] = (),
    seed: int = 0,
    watch: Watch = quiet,
) -> Teleport:
    """Ratios at every later site of displacements put in at each of these layers.

    Parameters
    ----------
    dynamics
        One map a run, driven by the layer's index: it takes site l of the run to site l + 1.
    trajectory
        Clock "layer"; the recorded paths, one run a text and none padded.
    layers
        Where to displace; five of them from first to last when left out.
    grid
        Points a side; the middle one of an odd grid is the path itself and is not displaced.
    extent
        Half the grid's width, in units of the root mean square distance of the texts' states at that layer from their mean.
    twins, scrambled
        What this function gave for networks of the same shape: with random weights, and with the network's own weights in
        random places.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        When maps and runs differ in number, a map is not driven by layers, the layers or the grid do not fit, the texts lie on
        one point at a layer, or a twin was displaced at other layers.
    """
    states, chosen = _fitting(dynamics, trajectory, layers, grid, extent)
    if any(
        not np.array_equal(twin.layers, chosen) or twin.ratios.shape[1] != states.shape[1]
        for twin in (*twins, *scrambled)
    ):
        raise InputError(f"a twin was displaced at other layers than {chosen.tolist()}, or has other sites")
    spreads = np.sqrt(((states - states.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    if not (spreads[chosen] > 0).all():
        raise InputError(f"the texts are in one state at layer {int(chosen[spreads[chosen] == 0][0])}: give others")

    offsets = _offsets(states, grid)
    sizes = extent * spreads[chosen]
    stepped = _Stepped(np.full((len(states), len(chosen), states.shape[1]), np.nan), 0.0)
    for stepped in watch(_texts(dynamics, states, chosen, sizes[:, None, None] * offsets), len(states)):
        pass

    logs = stepped.logs[~np.isnan(stepped.logs[:, 0, -1])]  # of the texts that were done
    norms = np.log(np.linalg.norm(states[: len(logs)], axis=2))
    relative = logs + norms[:, chosen, None] - norms[:, None]
    draws = np.random.default_rng(seed).integers(max(len(logs), 1), size=(RESAMPLES, len(logs)))
    nulls = []
    for row, layer in enumerate(chosen.tolist() if len(logs) else ()):
        for name, others in ((TWIN, twins), (SCRAMBLED, scrambled)):
            drawn = [float(np.log(max(twin.ratios[row, -1], 1e-300))) for twin in others]
            nulls += twin_null(_statistic(layer), float(logs[:, row, -1].mean()), drawn, name)
    return Teleport(
        chosen, *_intervals(logs, draws), *_intervals(relative, draws), sizes, len(logs), len(offsets),
        Outcome.CONVERGED if len(logs) == len(states) else Outcome.OUT_OF_TIME, tuple(nulls),
        (replayed([stepped.missed], dynamics),),
    )  # fmt: skip


def _statistic(layer: int) -> str:
    return f"log of the last ratio from layer {layer}"


def _fitting(
    dynamics: Sequence[Dynamics], trajectory: Trajectory, layers: Sequence[int] | None, grid: int, extent: float
) -> tuple[np.ndarray, np.ndarray]:
    """States (texts, sites, dim) and the layers, or a refusal."""
    fitting(dynamics, trajectory, "teleport")
    states, sites = trajectory.states, trajectory.states.shape[1]
    chosen = np.unique(np.linspace(0, sites - 2, min(5, sites - 1)).astype(int) if layers is None else np.array(layers))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] > sites - 2 or grid < 2 or not extent > 0:
        raise InputError(f"layers lie in 0 to {sites - 2}, with {grid=} from 2 and {extent=} above 0; {layers=} came")
    return states, chosen.astype(np.int64)


def _offsets(states: np.ndarray, grid: int) -> np.ndarray:
    """(displaced, dim) points of the grid in the principal plane, half-width 1, less the middle."""
    points = states.reshape(-1, states.shape[2])
    plane = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][:2]
    side = np.linspace(-1, 1, grid)
    at = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)[:, : len(plane)]
    return at[np.abs(at).sum(axis=1) > 1e-9] @ plane


def _texts(
    dynamics: Sequence[Dynamics], states: np.ndarray, layers: np.ndarray, offsets: np.ndarray
) -> Iterator[_Stepped]:
    """One text a time: the path and its displaced states in one batch."""
    logs, worst = np.full((len(states), len(layers), states.shape[1]), np.nan), 0.0
    for text, (one, path) in enumerate(zip(dynamics, states, strict=True)):
        logs = logs.copy()
        for row, layer in enumerate(layers):
            now = as_states(one, np.concatenate([path[layer : layer + 1], path[layer] + offsets[row]]))
            first = _apart(now)
            logs[text, row, layer] = 0.0
            for site in range(int(layer), states.shape[1] - 1):
                with torch.no_grad():
                    now = one(now, site)
                logs[text, row, site + 1] = _log(_apart(now) / first)
                miss = np.linalg.norm(now[0].double().cpu().numpy() - path[site + 1])
                worst = max(worst, float(miss / max(np.linalg.norm(path[site + 1]), np.finfo(np.float64).tiny)))
        yield _Stepped(logs, worst)


def _apart(states: torch.Tensor) -> np.ndarray:
    """Distances of the rows from the first."""
    return (states[1:] - states[0]).double().norm(dim=1).cpu().numpy()


def _log(ratios: np.ndarray) -> float:
    """Mean logarithm; minus infinity where a displacement vanished."""
    return float(np.log(ratios).mean()) if (ratios > 0).all() else -np.inf


def _intervals(logs: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometric mean over texts and its 95 % interval; no interval of a single text."""
    unknown = np.full(logs.shape[1:], np.nan)
    if len(logs) < 2:
        return np.exp(logs[0]) if len(logs) else unknown, unknown, unknown
    weights = np.stack([np.bincount(draw, minlength=len(logs)) for draw in draws]) / len(logs)
    finite = np.where(np.isfinite(logs), logs, 0.0)
    means = np.where(np.isfinite(logs).all(axis=0), np.tensordot(weights, finite, axes=1), np.nan)
    low, high = np.exp(np.quantile(means, [0.025, 0.975], axis=0))
    return np.exp(logs.mean(axis=0)), low, high
