"""Where do tokens go when a selective layer is applied without end? Each run's fate, beside what its weights predict.

    dx_l/dt = sum over j <= l of (x_l' S_C' S_B x_j) exp(-a (Delta_(j+1) + ... + Delta_l)) Delta_j x_j,

Delta = softplus(S_step x), channel by channel: the output of S6 with A = -a in every state, without gate, convolution and norm
(Vo et al., ICLR 2025, arXiv 2410.03292). Known of it: with all eigenvalues of the symmetric part of S_C' S_B negative tokens
vanish as t^(-1/2), since Delta(0) = ln 2: a first token has |x| sqrt(2 |mu| ln2 t) -> 1, mu = x' S_C' S_B x / |x|^2. In one
dimension with mu > 0 a token with S_step x < 0 grows as a logarithm, and one with S_step x > 0 reaches infinity in finite time.

With eigenvalues of both signs the weights alone decide nothing: a token stops wherever x' S_C' S_B x = 0, a cone of resting
points that attracts some starts, while others vanish or diverge. The paper's simulations, of ten tokens, saw them diverge.

Method: time is stretched by the relative speed |v| / |x|, so that infinity is ln |x| units away and no singularity, and a
million units of time some 14; LSODA in that time. Takes tokens (runs, tokens, dim) and weights; costs some
300 to 3000 evaluations a run, O(tokens^2 dim) each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.integrate import LSODA

from analyses.result import Check, Result, axes_or_new
from analyses.weights._pair_spectrum import CONVERGENT, DIVERGENT, as_pair, pair_spectrum, regime, signs
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VANISH, GROW, PASS = "vanish", "still grow", "pass the bound"
REST, UNFINISHED = "rest off zero", "ran out of steps"
DIVERGE = "diverge"  # predicted: grow or pass
RESTS = 0.01  # change of ln |x| over the last tenfold of time: -1.15 as t^(-1/2), 0.18 as ln t at 1e6
STILL = 1e-6  # that change in a run that ran out of steps, as many do where they have come to rest
STEPS = 3000  # of the solver, a run: most take 200; far out softplus is a kink, along which tokens slide in tiny steps
KEPT = 64  # times of the curves
LAW = 0.01  # of the limit 1, from a time of 1e5 on: the next term is of order S_step x, 1e-3 there
SETTLED = 1e5


@dataclass(frozen=True, eq=False)
class TokenFlow(Result):
    """Runs of tokens under their own layer.

    Attributes
    ----------
    fates
        Of the largest token of each run: vanish, still grow, pass the bound, rest off zero, or ran out of steps.
    predicted
        From the weights: vanish, where all eigenvalues are negative; diverge, where all are positive, and in one dimension
        still grow or pass the bound; empty where they are mixed or 0.
    ends : (runs,)
        Time of the last state.
    sizes : (runs, tokens)
        |x| there.
    law : (runs,)
        |x_1| sqrt(2 |mu| ln2 t) at the end of runs that vanish, 1 in the limit; else NaN.
    times : (kept,)
        Evenly spaced in the logarithm.
    largest : (runs, kept)
        The largest token's |x| then; NaN after the end.
    checks
        Runs that go where they were predicted to; the law's worst departure from 1, for runs of 1e5 units of time or more.
    """

    fates: tuple[str, ...]
    predicted: tuple[str, ...]
    ends: Float[np.ndarray, " runs"]
    sizes: Float[np.ndarray, "runs tokens"]
    law: Float[np.ndarray, " runs"]
    times: Float[np.ndarray, " kept"]
    largest: Float[np.ndarray, "runs kept"]
    checks: tuple[Check, ...]

    @property
    def as_predicted(self) -> np.ndarray:
        """(runs,) bool; runs without a prediction are False."""
        return np.array(
            [_agrees(fate, told) for fate, told in zip(self.fates, self.predicted, strict=True)], dtype=bool
        )

    def summary(self) -> str:
        """How many go where their weights say, and the fates."""
        told = sum(bool(told) for told in self.predicted)
        counts = ", ".join(f"{self.fates.count(fate)} {fate}" for fate in dict.fromkeys(self.fates))
        agreed = int(self.as_predicted.sum())
        text = f"{agreed} of {told} runs with one sign go where it says (of all {len(self.fates)}: {counts})"
        known = self.law[np.isfinite(self.law)]
        if len(known):
            text += f"; |x_1| sqrt(2 |mu| ln2 t) is {known.min():.4f} to {known.max():.4f} where they vanish, 1 in the limit"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The largest token of each run over time."""
        ax = axes_or_new(ax)
        colors = {VANISH: "#0072b2", GROW: "#e69f00", PASS: "#d55e00"}
        for fate, curve in list(zip(self.fates, self.largest, strict=True))[:64]:
            ax.loglog(self.times, curve, color=colors.get(fate, "0.6"), linewidth=0.8)
        ax.set(xlabel="time", ylabel="|x| of the largest token")
        return ax


def token_flow(
    tokens: Any,
    S_B: Any,
    S_C: Any,
    S_step: Any,
    *,
    decay: float = 1.0,
    time: float = 1e6,
    bound: float = 100.0,
    watch: Watch = quiet,
) -> TokenFlow:
    """Follow tokens under the flow of a selective layer.

    Parameters
    ----------
    tokens : (runs, tokens, dim)
    S_B, S_C : (width, dim) or (runs, width, dim)
    S_step : (dim, dim) or (runs, dim, dim)
    decay
        a.
    time, bound
        A run ends at this time, or when a coordinate passes the bound.
    watch
        Wraps the runs; those that were not reached are left out.

    Raises
    ------
    InputError
        For shapes that do not fit, a token at zero, or a decay, time or bound that is not positive.
    """
    starts = np.asarray(tokens, dtype=np.float64)
    S_B, S_C = as_pair(S_B, S_C)
    S_step = np.asarray(S_step, dtype=np.float64)
    dim = starts.shape[-1] if starts.ndim == 3 else 0
    fits = starts.ndim == 3 and S_B.shape[-1] == dim and S_step.shape[-2:] == (dim, dim)
    if not fits or any(part.ndim == 3 and len(part) != len(starts) for part in (S_B, S_step)):
        raise InputError(
            f"tokens (runs, tokens, dim), S_B and S_C (width, dim), S_step (dim, dim) are needed, weights for all runs or for "
            f"each, but {starts.shape}, {S_B.shape}, {S_step.shape} came"
        )
    if min(decay, time, bound) <= 0 or not (np.linalg.norm(starts, axis=2) > 0).all():
        raise InputError(f"no token lies at zero and {decay=}, {time=}, {bound=} are positive")
    M = np.broadcast_to(S_C.swapaxes(-1, -2) @ S_B, (len(starts), dim, dim))
    S_step = np.broadcast_to(S_step, (len(starts), dim, dim))

    runs: list[Run] = []
    for run in watch(_runs(starts, M, S_step, decay, time, bound), len(starts)):
        runs.append(run)  # noqa: PERF402

    done = len(runs)
    positive, negative = signs(np.broadcast_to(pair_spectrum(S_B, S_C), (len(starts), min(dim, 2 * S_B.shape[-2]))))
    kinds = [regime(int(p), int(n)) for p, n in zip(positive[:done], negative[:done], strict=True)]
    predicted = tuple(_predicted(kind, start, S) for kind, start, S in zip(kinds, starts, S_step))  # noqa: B905
    fates = tuple(run.fate for run in runs)
    law = np.array([_law(run, matrix) for run, matrix in zip(runs, M)])  # noqa: B905
    times = np.geomspace(1e-3, time, KEPT)
    agreed = sum(_agrees(fate, told) for fate, told in zip(fates, predicted, strict=True))
    checks = [
        Check("runs that go where the signs of their weights say", float(sum(map(bool, predicted))), float(agreed), 0.0)
    ]
    settled = law[np.isfinite(law)] if time >= SETTLED else law[:0]
    if len(settled):
        worst = settled[np.abs(settled - 1).argmax()]
        checks.append(Check("|x_1| sqrt(2 |mu| ln2 t) at the end: its limit", 1.0, float(worst), LAW))
    return TokenFlow(
        fates=fates,
        predicted=predicted,
        ends=np.array([run.times[-1] for run in runs]),
        sizes=np.array([np.linalg.norm(run.last, axis=1) for run in runs]).reshape(done, starts.shape[1]),
        law=law,
        times=times,
        largest=np.array([run.at(times) for run in runs]).reshape(done, KEPT),
        checks=tuple(checks),
    )


@dataclass(frozen=True, eq=False)
class Run:
    """One run: times, the largest |x| at each, and the last state."""

    times: np.ndarray
    largest: np.ndarray
    last: np.ndarray
    stuck: bool
    passed: bool

    @property
    def fate(self) -> str:
        if self.passed:
            return PASS
        before = np.interp(np.log1p(self.times[-1]) - np.log(10), np.log1p(self.times), np.log(self.largest))
        change = np.log(self.largest[-1]) - before
        if abs(change) < (STILL if self.stuck else RESTS):
            return REST
        return UNFINISHED if self.stuck else GROW if change > 0 else VANISH

    def at(self, times: np.ndarray) -> np.ndarray:
        """The largest |x| at these times, NaN after the end."""
        sizes = np.exp(np.interp(np.log1p(times), np.log1p(self.times), np.log(self.largest)))
        return np.where(times <= self.times[-1] * (1 + 1e-9), sizes, np.nan)


def velocity(x: np.ndarray, M: np.ndarray, S_step: np.ndarray, decay: float) -> np.ndarray:
    """(tokens, dim) speeds of tokens (tokens, dim)."""
    steps = np.logaddexp(0.0, x @ S_step.T)
    reached = np.cumsum(steps, axis=0)
    kept = np.exp(-decay * np.maximum(reached[:, None] - reached[None], 0.0)) * np.tri(len(x))[..., None]
    return np.einsum("lj,ljc,jc->lc", x @ M @ x.T, kept, steps * x)


def _runs(
    starts: np.ndarray, M: np.ndarray, S_step: np.ndarray, decay: float, time: float, bound: float
) -> Iterator[Run]:
    for start, matrix, S in zip(starts, M, S_step, strict=True):
        yield _followed(start, matrix, S, decay, time, bound)


def _followed(start: np.ndarray, M: np.ndarray, S_step: np.ndarray, decay: float, time: float, bound: float) -> Run:
    """The last coordinate is ln(1 + t)."""

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        x = state[:-1].reshape(start.shape)
        v = velocity(x, M, S_step, decay)
        slowest = np.exp(-state[-1])
        speed = np.linalg.norm(v) / np.linalg.norm(x) + slowest
        return np.append(v / speed, slowest / speed)

    solver = LSODA(slope, 0.0, np.append(start.ravel(), 0.0), np.inf, rtol=1e-8, atol=1e-14)
    times, largest = [0.0], [float(np.linalg.norm(start, axis=1).max())]
    passed, count = False, 0
    while solver.status == "running" and not passed and times[-1] < time and count < STEPS:
        solver.step()
        x = solver.y[:-1].reshape(start.shape)
        times.append(float(np.expm1(solver.y[-1])))
        largest.append(float(np.linalg.norm(x, axis=1).max()))
        passed, count = bool(np.abs(x).max() > bound), count + 1
    stuck = not passed and times[-1] < time
    return Run(np.array(times), np.array(largest), solver.y[:-1].reshape(start.shape), stuck, passed)


def _predicted(kind: str, start: np.ndarray, S_step: np.ndarray) -> str:
    if kind != DIVERGENT:
        return VANISH if kind == CONVERGENT else ""
    if start.shape[1] > 1:
        return DIVERGE
    return PASS if (start @ S_step.T > 0).any() else GROW


def _agrees(fate: str, predicted: str) -> bool:
    return fate == predicted or (predicted == DIVERGE and fate in (GROW, PASS))


def _law(run: Run, M: np.ndarray) -> float:
    if run.fate != VANISH:
        return float("nan")
    size = np.linalg.norm(run.last[0])
    along = run.last[0] / size
    return float(size * np.sqrt(2 * abs(along @ M @ along) * np.log(2) * run.times[-1]))
