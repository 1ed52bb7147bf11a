"""How heterogeneous are the weights around a unit, how does that change in training, and how much of the change is only size?

The weight-heterogeneity spectrum as published under the name of neuron-based multifractal analysis (NeuroMFA: Xiao, Zhang,
Bogdan et al., ICLR 2025, arXiv 2402.09099). A connection of weight w has the length 1 / |w|. N_i(r) is 1 + the number of unit
i's outgoing connections of length at most r; over the sampled units Z_q(r) = sum_i (N_i(r) / N_i(r_max))^q; tau(q) is the slope
of ln Z_q against ln(r / r_max) over all radii, alpha = d tau / dq by forward differences, f = q alpha - tau. The peak is alpha
where f is largest, the width max alpha - min alpha, and the degree of emergence of checkpoint t

    E(t) = (width(t) / width(0)) ln(peak(0) / peak(t)).

Three forms. "released": lengths 1 < 1 / |w| <= 150 rounded to integers, units with ten connections or fewer left out, as the
released code does; of its faults, the indexing of fused queries, keys and values as thirds is not copied (``hooks.connections``
splits them by heads). It counts one hop: no distance in the graph, no boxes. It is not free of scale: longer weights alone
raise E. "normalised": the same after each matrix is scaled to a standard deviation of ``SPREAD``, so that E(c W) = E(W).
"distance": N_i(r) counts units whose shortest path to unit i, over normalised connections in either direction, is at most r:
the box growing that the released code names.

Takes checkpoints of one network as ``hooks.connections`` lists them. Costs one exponential an order, radius and sampled unit,
for each checkpoint, draw and sample; "distance" all shortest paths between sampled units besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy.sparse.csgraph import shortest_path

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from hooks.connections import Connection
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Form = Literal["released", "normalised", "distance"]
Weights = Callable[[int, np.ndarray, np.ndarray], np.ndarray]  # connection, target units, source units -> their weights

LONGEST = 150  # of the released code, as the next three
FEWEST = 10  # connections of a unit that is left out
RESAMPLINGS = 10
SAMPLED, WIDE = 32, 64  # units of a group, and of a group wider than the narrowest
SPREAD = 0.02  # GPT-2's standard deviation at the start, where some three weights of four are among the lengths kept
ORDERS = tuple(round(-3 + 0.1 * i, 1) for i in range(61))
BOOTSTRAPS = 1000


@dataclass(frozen=True, eq=False)
class WeightHeterogeneity(Result):
    """Spectra of every checkpoint, and what of the last one's emergence is more than the size of its weights.

    Attributes
    ----------
    form
        How lengths and neighbours are counted.
    orders : (orders,)
        q.
    tau : (checkpoints, orders)
        Mean over the samples of units.
    fit : (checkpoints, orders)
        Share of the variance of ln Z_q that the line explains, mean over the samples: near 0 around q = 0 by construction.
    peaks, widths : (checkpoints, samples)
        Of each sample of units, the same units at all checkpoints.
    emergence : (checkpoints,)
        E from the means over samples; 0 at the first by definition.
    low, high : (checkpoints,)
        95 % interval, samples drawn again.
    rescaled
        E of the last checkpoint with every matrix scaled to its standard deviation at the first: what is not size.
    outcome
        CONVERGED, or TOO_SHORT where no unit keeps enough connections.
    nulls
        Of the last checkpoint's emergence and width: its weights shuffled within each matrix; Gaussian weights of each matrix's
        mean and standard deviation.
    checks
        tau(0) = 0, since Z_0 counts the units.
    """

    form: str
    orders: Float[np.ndarray, " orders"]
    tau: Float[np.ndarray, "checkpoints orders"]
    fit: Float[np.ndarray, "checkpoints orders"]
    peaks: Float[np.ndarray, "checkpoints samples"]
    widths: Float[np.ndarray, "checkpoints samples"]
    emergence: Float[np.ndarray, " checkpoints"]
    low: Float[np.ndarray, " checkpoints"]
    high: Float[np.ndarray, " checkpoints"]
    rescaled: float
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Which nulls the last checkpoint beats, its emergence, and how much of it shuffled weights have."""
        if self.outcome is not Outcome.CONVERGED:
            return (
                f"0 of {len(self.emergence)} checkpoints have a spectrum: no unit keeps more than {FEWEST} connections"
            )
        E, shuffled = self.emergence[-1], float(np.median(self.nulls[0].draws))
        beaten = sum(null.beaten for null in self.nulls)
        text = (
            f"{beaten} of {len(self.nulls)} nulls beaten; weight-heterogeneity spectrum ({self.form} form): emergence "
        )
        text += (
            f"{E:.3g} [{self.low[-1]:.3g}, {self.high[-1]:.3g}] after {len(self.emergence) - 1} checkpoints, of which "
        )
        text += f"shuffled weights keep {shuffled:.3g} ({shuffled / E:.0%})" if E else "shuffled weights keep all"
        width, alike = self.nulls[1].observed, float(np.median(self.nulls[1].draws))
        return f"{text}, weights of the first size {self.rescaled:.3g}; width {width:.3g}, shuffled {alike:.3g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Emergence by checkpoint with its interval, and what the nulls keep of the last."""
        ax = axes_or_new(ax)
        at = np.arange(len(self.emergence))
        ax.fill_between(at, self.low, self.high, alpha=0.25, linewidth=0)
        ax.plot(at, self.emergence, "o-", markersize=3, label="trained")
        for null in self.nulls[::2]:
            spread = np.quantile(null.draws, [0.025, 0.5, 0.975])
            ax.errorbar(at[-1:], spread[1:2], np.abs(spread[[0, 2]] - spread[1])[:, None], fmt="s", label=null.name)
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.set(xlabel="checkpoint", ylabel="degree of emergence E")
        ax.legend(frameon=False, fontsize="small")
        return ax


def neuron_multifractal(
    checkpoints: Sequence[Sequence[Connection]],
    *,
    form: Form = "released",
    resamplings: int = RESAMPLINGS,
    draws: int = 39,
    orders: Sequence[float] = ORDERS,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> WeightHeterogeneity:
    """The weight-heterogeneity spectrum over training, and what a shuffle keeps of it.

    Parameters
    ----------
    checkpoints
        Connections of one network at two or more times, the reference first; without a history, a newly initialised twin.
    resamplings
        Samples of units: 32 of each group, 64 of groups wider than the narrowest, all where there are fewer.
    draws
        Of each null.
    orders
        q, ascending, with 0 among them.
    generator
        Of samples, nulls and intervals; numpy's with seed 0 when left out.

    Raises
    ------
    InputError
        For fewer than two checkpoints, checkpoints whose connections differ, weights that are not finite, a form that is none,
        fewer than 2 samples or 1 draw, or orders without 0 or out of order.
    """
    _refuse(checkpoints, form, resamplings, draws, orders)
    generator = generator or np.random.default_rng(0)
    network, q = checkpoints[0], np.asarray(orders, dtype=np.float64)
    matrices = [[join.weight.numpy() for join in checkpoint] for checkpoint in checkpoints]
    spreads = np.array([[matrix.std() for matrix in checkpoint] for checkpoint in matrices])
    samples = [_sample(network, generator) for _ in range(resamplings)]

    def spectra(weights: Weights, scale: np.ndarray) -> np.ndarray:
        return np.array([_spectrum(network, sample, weights, scale, form, q) for sample in samples])

    tasks = _tasks(matrices, spreads, form, draws, generator)
    found = [spectra(*task) for task in watch(tasks, len(matrices) + 1 + 2 * draws)]
    if not all(np.isfinite(spectrum).all() for spectrum in found):
        return _nothing(form, q, len(matrices), resamplings)
    trained, rescaled, null = (
        np.array(found[: len(matrices)]),
        found[len(matrices)],
        np.array(found[len(matrices) + 1 :]),
    )
    peaks, widths, tau, fit = trained[..., 0], trained[..., 1], trained[..., 2 : 2 + len(q)], trained[..., 2 + len(q) :]
    again = generator.integers(resamplings, size=(BOOTSTRAPS, resamplings))
    drawn_again = _emergence(peaks[:, again].mean(2), widths[:, again].mean(2))
    low, high = np.quantile(drawn_again, [0.025, 0.975], axis=1)
    reference = peaks[0].mean(), widths[0].mean()
    emergence = _emergence(peaks.mean(1), widths.mean(1))
    by_draw = null[..., 0].mean(1), null[..., 1].mean(1)
    null_E = by_draw[1] / reference[1] * np.log(reference[0] / by_draw[0])
    nulls = [
        Null(f"{name}, {what}", hypothesis, "network", values[half * draws : (half + 1) * draws], float(observed))
        for half, (name, hypothesis) in enumerate(
            (
                ("shuffled within each matrix", "where in its matrix a weight stands does not matter"),
                ("Gaussian of each matrix's mean and spread", "only the mean and spread of each matrix matter"),
            )
        )
        for what, values, observed in (
            ("emergence", null_E, emergence[-1]),
            ("width", by_draw[1], widths[-1].mean()),
        )
    ]
    return WeightHeterogeneity(
        form=form,
        orders=q,
        tau=tau.mean(1),
        fit=fit.mean(1),
        peaks=peaks,
        widths=widths,
        emergence=emergence,
        low=low,
        high=high,
        rescaled=float(rescaled[:, 1].mean() / reference[1] * np.log(reference[0] / rescaled[:, 0].mean())),
        outcome=Outcome.CONVERGED,
        nulls=tuple(nulls),
        checks=(Check("tau at q = 0", 0.0, float(np.abs(tau[..., np.argmin(np.abs(q))]).max()), 1e-12),),
    )


def _tasks(
    matrices: list[list[np.ndarray]], spreads: np.ndarray, form: Form, draws: int, generator: np.random.Generator
) -> Iterator[tuple[Weights, np.ndarray]]:
    """Weights of each checkpoint, of the last at the first one's spread, then of the nulls, and what scales their lengths."""
    free = form == "released"  # of any scale: lengths are 1 / |w|
    last, scales = matrices[-1], np.ones_like(spreads) if free else SPREAD / np.where(spreads > 0, spreads, 1.0)
    for checkpoint, scale in zip(matrices, scales, strict=True):
        yield partial(_between, checkpoint), scale
    back = spreads[0] / np.where(spreads[-1] > 0, spreads[-1], 1.0) if free else scales[-1]
    yield partial(_between, last), back

    def shuffled(join: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        taken = generator.choice(last[join].size, (len(rows), len(columns)), replace=False, shuffle=True)
        return last[join].reshape(-1)[taken]

    def gaussian(join: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return generator.normal(last[join].mean(), spreads[-1, join], (len(rows), len(columns)))

    for null in (shuffled, gaussian):
        for _ in range(draws):
            yield null, scales[-1]


def _between(checkpoint: list[np.ndarray], join: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return checkpoint[join][np.ix_(rows, columns)]


def _sample(network: Sequence[Connection], generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Units of each group."""
    sizes: dict[str, int] = {}
    for join in network:
        targets, sources = join.weight.shape
        sizes |= {join.source: sources, join.target: targets}
    narrowest = min(sizes.values())
    return {
        group: np.sort(generator.permutation(size)[: WIDE if size > narrowest else SAMPLED])
        for group, size in sizes.items()
    }


def _spectrum(
    network: Sequence[Connection],
    sample: dict[str, np.ndarray],
    weights: Weights,
    scale: np.ndarray,
    form: Form,
    q: np.ndarray,
) -> np.ndarray:
    """Peak, width, (orders,) tau and (orders,) share explained, in one row; NaN where no unit is left."""
    lengths = [
        1 / np.maximum(np.abs(scale[i] * weights(i, sample[join.target], sample[join.source])), 1e-300)
        for i, join in enumerate(network)
    ]
    counts = (_within if form == "distance" else _outgoing)(network, sample, lengths)
    counts = counts[counts.sum(1) > FEWEST]
    radii = np.flatnonzero(counts.any(0))
    if len(radii) < 2:
        return np.full(2 + 2 * len(q), np.nan)
    neighbours = 1.0 + counts.cumsum(1)[:, radii]
    logs = np.log(neighbours / neighbours[:, -1:])
    ln_Z = np.array([np.log(np.exp(order * logs).sum(0)) for order in q])
    x = np.log(radii / radii[-1])
    x = x - x.mean()
    deviations = ln_Z - ln_Z.mean(1, keepdims=True)
    tau = deviations @ x / (x @ x)
    total = (deviations**2).sum(1)
    fit = np.divide(tau**2 * (x @ x), total, out=np.zeros_like(tau), where=total > 0)
    alpha = np.diff(tau) / np.diff(q)
    f = q[:-1] * alpha - tau[:-1]
    return np.concatenate([[alpha[f.argmax()], np.ptp(alpha)], tau, fit])


def _outgoing(network: Sequence[Connection], sample: dict[str, np.ndarray], lengths: list[np.ndarray]) -> np.ndarray:
    """(units, radii) outgoing connections of each rounded length."""
    rows = []
    for group in dict.fromkeys(join.source for join in network):
        out = np.concatenate([one for join, one in zip(network, lengths, strict=True) if join.source == group]).T
        rows.append(_histogram(np.where((out > 1) & (out <= LONGEST), out, 0.0)))
    return np.concatenate(rows)


def _within(network: Sequence[Connection], sample: dict[str, np.ndarray], lengths: list[np.ndarray]) -> np.ndarray:
    """(units, radii) units at each rounded distance."""
    first = dict(zip(sample, np.cumsum([0, *map(len, sample.values())])[:-1], strict=True))
    graph = np.full((sum(map(len, sample.values())),) * 2, np.inf)
    for join, one in zip(network, lengths, strict=True):
        a, b = first[join.target], first[join.source]
        graph[a : a + len(one), b : b + one.shape[1]] = one
    distances = shortest_path(np.minimum(graph, graph.T), method="FW", directed=False)
    np.fill_diagonal(distances, 0.0)
    return _histogram(np.where(distances <= LONGEST, np.where(distances > 0, np.maximum(distances, 1.0), 0.0), 0.0))


def _histogram(lengths: np.ndarray) -> np.ndarray:
    """(units, LONGEST + 1) how many of (units, lengths) round to each radius; 0 is none."""
    radius = np.rint(lengths).astype(np.int64)
    at = np.arange(len(radius))[:, None] * (LONGEST + 1) + radius
    counts = np.bincount(at.ravel(), minlength=len(radius) * (LONGEST + 1)).reshape(len(radius), -1)
    counts[:, 0] = 0
    return counts


def _emergence(peaks: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """E of checkpoints along the first axis, the reference first."""
    return widths / widths[0] * np.log(peaks[0] / peaks)


def _nothing(form: str, q: np.ndarray, checkpoints: int, resamplings: int) -> WeightHeterogeneity:
    none, each = np.full((checkpoints, len(q)), np.nan), np.full((checkpoints, resamplings), np.nan)
    return WeightHeterogeneity(
        form=form, orders=q, tau=none, fit=none.copy(), peaks=each, widths=each.copy(), emergence=each[:, 0].copy(),
        low=each[:, 0].copy(), high=each[:, 0].copy(), rescaled=np.nan, outcome=Outcome.TOO_SHORT, nulls=(), checks=(),
    )  # fmt: skip


def _refuse(
    checkpoints: Sequence[Sequence[Connection]], form: str, resamplings: int, draws: int, orders: Sequence[float]
) -> None:
    if form not in get_args(Form):
        raise InputError(f"the form is one of {', '.join(get_args(Form))}, not {form!r}")
    if resamplings < 2 or draws < 1 or 0 not in orders or (np.diff(orders) <= 0).any():
        raise InputError(
            f"resamplings={resamplings}, draws={draws}: need 2 samples, 1 draw, and ascending orders with 0 among them"
        )
    if len(checkpoints) < 2 or not all(len(checkpoint) for checkpoint in checkpoints):
        raise InputError(
            f"emergence compares a checkpoint with an earlier one, but {len(checkpoints)} came: give the network at the start, "
            "or a newly initialised twin, first"
        )
    shapes = [tuple(map(repr, checkpoint)) for checkpoint in checkpoints]
    for number, other in enumerate(shapes):
        if other != shapes[0]:
            raise InputError(f"checkpoints 0 and {number} are not of one network: {shapes[0][:2]}, {other[:2]}")
    for number, checkpoint in enumerate(checkpoints):
        for join in checkpoint:
            if not join.weight.isfinite().all():
                raise InputError(f"checkpoint {number} has weights that are not finite in {join}")
