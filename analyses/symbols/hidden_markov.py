"""Is a recording a hidden Markov chain, of how many states, or does a smooth process look like one?

Method: hmmlearn's EM (Gaussian emissions of full covariance in whitened coordinates, or categorical ones) from several random
starts for each number of states. The number is the least whose held-out log-likelihood per step lies within one standard error
(over pieces of the recording, paired) of the best; the pieces are scored in two halves, each by the fit to the other. Any path
can be cut into "states", often the more the better, so the number must not be the largest that was tried, and two controls
stand beside it: a process without hidden states under the same scoring (a first-order Gaussian autoregression; for symbols a
first-order Markov chain), and the same fits to surrogates that keep the recording's spectra and cross-spectra (phases
randomised; for symbols, draws of the first-order chain).

Takes a Trajectory; costs (3 numbers of states + 2 draws) x starts EM fits, each iterations x steps x (states^2 + states dim^2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.symbols._hidden_markov import Fit, Halves, Kind, Limits, Symbols, Vectors, fitted, stationary
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Emissions = Literal["gaussian", "categorical"]
ROUNDING = 1e-9  # nats a step


@dataclass(frozen=True, eq=False)
class HiddenMarkov(Result):
    """The hidden Markov chain that predicts held-out steps best, with its states in the order of their mean first coordinate.

    Attributes
    ----------
    emissions
        "gaussian" or "categorical".
    counts : (tried,)
        Numbers of states tried.
    scores : (tried,)
        Held-out log-likelihood, nats a step; of a Gaussian one in whitened coordinates. NaN where no fit served.
    score_errors : (tried,)
        Standard error, over pieces, of the difference from the best score.
    bic : (tried,)
        Schwarz' criterion of the fits to all steps, less is better.
    reached : (tried,)
        Starts, of ``starts``, that came within 1e-3 nats a step of the best, in the fit to all steps.
    outcomes
        One a count: of the best start, or why none served.
    states
        The number selected; 0 where none could be.
    transitions : (states, states)
        P(column | row).
    means : (states, dim)
        Or (states, symbols), the probability of each symbol.
    covariances : (states, dim, dim)
        No state's of a categorical chain.
    shares : (states,)
        Stationary probabilities.
    labels : (runs, steps)
        The most probable state given the whole run; -1 in padding.
    entropy
        Mean entropy of the state given the whole run, nats; near 0 where states are told apart.
    control
        Held-out score of the control without hidden states.
    control_error
        Standard error, over pieces, of the selected score's lead over it.
    starts
        EM fits for each count.
    nulls
        Of the "gain" (selected score less that of one state) and of the "dwell" (mean steps in a state), over surrogates.
    checks
        Transitions out of each state sum to 1; EM never lowered the likelihood.
    """

    emissions: str
    counts: Int[np.ndarray, " tried"]
    scores: Float[np.ndarray, " tried"]
    score_errors: Float[np.ndarray, " tried"]
    bic: Float[np.ndarray, " tried"]
    reached: Int[np.ndarray, " tried"]
    outcomes: tuple[Outcome, ...]
    states: int
    transitions: Float[np.ndarray, "states states"]
    means: Float[np.ndarray, "states columns"]
    covariances: Float[np.ndarray, "normal dim dim"]
    shares: Float[np.ndarray, " states"]
    labels: Int[np.ndarray, "runs steps"]
    entropy: float
    control: float
    control_error: float
    starts: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def dwell(self) -> np.ndarray:
        """(states,) mean steps spent in a state before it is left; infinite where it never is."""
        left = 1 - np.diag(self.transitions)
        return np.divide(1.0, left, out=np.full(len(left), np.inf), where=left > 0)

    @property
    def lead(self) -> float:
        """Nats a step by which the selected chain predicts held-out steps better than the control; NaN without one."""
        return float(self.scores[self.counts == self.states][0] - self.control) if self.states else np.nan

    @property
    def resolved(self) -> bool:
        """Whether a larger number than the selected one was tried: a path that can be cut ever more finely has no number."""
        return bool(0 < self.states < self.counts.max())

    @property
    def discrete(self) -> bool:
        """Whether hidden states are more than a way to cut a path: there are two or more, of a resolved number, they lead the
        control by three standard errors, and at most 5 % of the surrogates (p = (1 + k) / (1 + n)) gain as much by them."""
        gains = [null for null in self.nulls if null.statistic == "gain"]
        beaten = all(20 * (1 + _as_large(null)) <= 1 + len(null.draws) for null in gains)
        leads = self.lead > 3 * self.control_error
        return self.states > 1 and self.resolved and leads and bool(gains) and beaten

    def summary(self) -> str:
        """How many fits served, the number of states, how it compares with the controls, and the verdict."""
        served = int(np.isfinite(self.scores).sum())
        text = f"{served} of {counted(len(self.counts), 'number')} of states could be fitted"
        if not self.states:
            return text
        chosen = int(np.flatnonzero(self.counts == self.states)[0])
        text += f"; held-out steps are predicted best, within one standard error, by {counted(self.states, 'state')}"
        text += " " if self.resolved else ", the largest number tried, so that more may do better "
        text += f"({self.scores[chosen]:.4g} nats a step; {self.reached[chosen]} of {self.starts} starts got there; "
        text += f"least BIC at {self.counts[np.nanargmin(self.bic)]}), left after {_range(self.dwell)} steps, "
        text += f"known to {self.entropy:.2g} nats"
        other = "autoregression" if self.emissions == "gaussian" else "Markov chain of the symbols"
        text += f"; the {other} without hidden states scores {self.control:.4g} "
        text += f"(lead {self.lead:+.3g} ± {self.control_error:.1g})"
        for null in self.nulls:
            text += f"; {null.statistic} {null.observed:.3g}, as large in {_as_large(null)} of {len(null.draws)} surrogates "
            text += f"({null.name}, median {np.median(null.draws):.3g})"
        return text + (": a hidden Markov chain" if self.discrete else ": not shown to be a hidden Markov chain")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Held-out score against the number of states, with the control."""
        ax = axes_or_new(ax)
        ax.errorbar(self.counts, self.scores, np.nan_to_num(self.score_errors), color="k", marker="o", markersize=4)
        if np.isfinite(self.control):
            ax.axhline(self.control, color="tab:red", linestyle=":", label="no hidden states")
            ax.legend(frameon=False)
        ax.set(xlabel="hidden states", ylabel="held-out log-likelihood (nats a step)")
        return ax


def hidden_markov(
    trajectory: Trajectory,
    *,
    states: Iterable[int] = range(1, 9),
    emissions: Emissions = "gaussian",
    starts: int = 4,
    iterations: int = 100,
    tolerance: float = 1e-5,
    draws: int = 19,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> HiddenMarkov:
    """Fit hidden Markov chains of several sizes to a recording and hold them against processes without hidden states.

    Parameters
    ----------
    trajectory
        States; project more than about ten coordinates first. For "categorical" one coordinate of whole numbers from 0.
        Coordinates, or directions, that never vary take no part.
    states
        Numbers of states tried.
    emissions
        What a state says: a Gaussian vector, or a symbol.
    starts
        Random starts of EM for each fit.
    iterations, tolerance
        Of EM: most of them, and the gain in nats a step at which it has converged.
    draws
        Surrogates, each fitted with one and with the selected number of states.
    generator
        Of starts, halves and surrogates; a fixed seed when left out.
    watch
        Wraps the numbers of states, then the surrogates. Stopped early, the numbers that were not reached are out of time.

    Returns
    -------
    HiddenMarkov
        With ``states`` 0 where nothing could be fitted: no run, too few steps, or nothing that varies.

    Raises
    ------
    InputError
        For no number of states or one below 1, ``starts`` or ``iterations`` below 1, symbols that are no whole numbers, or when
        hmmlearn is not installed (``pip install interp-dynamics[hmm]``).
    """
    counts = np.array(sorted(set(states)), dtype=np.int64)
    if not len(counts) or counts[0] < 1 or min(starts, iterations) < 1:
        raise InputError(f"states, starts and iterations are 1 or more, but {counts}, {starts} and {iterations} came")
    values = trajectory.points()
    if emissions == "categorical" and (values.shape[1] != 1 or (values != np.abs(np.rint(values))).any()):
        raise InputError("categorical emissions are one coordinate of whole numbers from 0: code the symbols so first")
    if find_spec("hmmlearn") is None:
        raise InputError("hidden_markov needs hmmlearn, which is not installed: pip install 'interp-dynamics[hmm]'")
    generator = generator or np.random.default_rng(0)
    assert trajectory.lengths is not None
    kind: Kind = Vectors.of(values) if emissions == "gaussian" else Symbols.of(values)
    runs = [kind.coded(run[:length]) for run, length in zip(trajectory.states, trajectory.lengths, strict=True)]
    limits = Limits(starts, iterations, tolerance)

    halves = Halves.of(runs, generator)
    trials = list(watch(_trials(kind, runs, halves, counts, limits, generator), len(counts)))
    trials += [_Trial(np.full(len(halves.pieces), np.nan), np.nan, Fit.none(kind.width, Outcome.OUT_OF_TIME))] * (
        len(counts) - len(trials)
    )
    scores = np.array([halves.mean(trial.scored) if trial.fit.model is not None else np.nan for trial in trials])
    bic = np.array([
        kind.parameters(int(count)) * np.log(max(1, halves.steps)) - 2 * trial.fit.log_likelihood
        for count, trial in zip(counts, trials, strict=True)
    ])  # fmt: skip
    best = trials[int(np.nanargmax(scores))] if np.isfinite(scores).any() else trials[0]
    errors = np.array([halves.error(best.scored - trial.scored) for trial in trials])
    near = scores >= np.nanmax(scores, initial=-np.inf) - np.nan_to_num(errors) - ROUNDING
    chosen = int(np.flatnonzero(near)[0]) if near.any() else None

    nulls: tuple[Null, ...] = ()
    control = control_error = np.nan
    fit = Fit.none(kind.width, Outcome.TOO_SHORT)
    if chosen is not None:
        trial = trials[chosen]
        fit = trial.fit
        unhidden = halves.scored(kind.without_states)
        control, control_error = halves.mean(unhidden), halves.error(trial.scored - unhidden)
        nulls = _nulls(kind, runs, halves, int(counts[chosen]), trial, scores[chosen], limits, draws, generator, watch)
    order, labels = fit.order, np.full(trajectory.states.shape[:2], -1, dtype=np.int64)
    entropy = 0.0
    for row, run in enumerate(runs if fit.model is not None else ()):
        given = fit.model.predict_proba(run)[:, order]
        labels[row, : len(run)] = given.argmax(axis=1)
        entropy -= float((given * np.log(np.where(given > 0, given, 1.0))).sum()) / halves.steps
    transitions = fit.transitions[np.ix_(order, order)]
    return HiddenMarkov(
        emissions=emissions,
        counts=counts,
        scores=scores,
        score_errors=errors,
        bic=bic,
        reached=np.array([one.fit.reached for one in trials], dtype=np.int64),
        outcomes=tuple(one.fit.outcome for one in trials),
        states=len(order),
        transitions=transitions,
        means=kind.means(fit.means[order]),
        covariances=kind.covariances(fit.covariances[order]),
        shares=stationary(transitions),
        labels=labels,
        entropy=entropy if len(order) else np.nan,
        control=control,
        control_error=control_error,
        starts=starts,
        nulls=nulls,
        checks=(
            Check("least sum of transitions out of a state", 1.0, float(transitions.sum(1).min(initial=1)), 1e-9),
            Check("largest fall of the likelihood in EM, nats a step", 0.0, fit.fall, 1e-6),
        ),
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """One number of states: held-out log-likelihood of every piece, mean dwell of the two fits, the fit to all steps."""

    scored: np.ndarray
    dwell: float
    fit: Fit


def _trials(
    kind: Kind,
    runs: Sequence[np.ndarray],
    halves: Halves,
    counts: np.ndarray,
    limits: Limits,
    generator: np.random.Generator,
) -> Iterator[_Trial]:
    for count in counts:
        scored, dwell = _held_out(kind, halves, int(count), limits, generator)
        yield _Trial(scored, dwell, fitted(kind, list(runs), int(count), limits, generator))


def _held_out(
    kind: Kind, halves: Halves, count: int, limits: Limits, generator: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Log-likelihood of each piece, and mean steps in a state, by the fits to the two halves."""
    dwells: list[float] = []

    def scorer(pieces: list[np.ndarray]) -> Callable[[np.ndarray], float]:
        fit = fitted(kind, pieces, count, limits, generator)
        left = 1 - stationary(fit.transitions) @ np.diag(fit.transitions) if fit.model is not None else np.nan
        dwells.append(float(1 / left) if left > 0 else np.inf)
        return fit.model.score if fit.model is not None else lambda _: np.nan

    return halves.scored(scorer), float(np.mean(dwells))


def _nulls(
    kind: Kind,
    runs: Sequence[np.ndarray],
    halves: Halves,
    count: int,
    trial: _Trial,
    score: float,
    limits: Limits,
    draws: int,
    generator: np.random.Generator,
    watch: Watch,
) -> tuple[Null, ...]:
    """Gain over one state and mean dwell, of as many states fitted to surrogates."""
    if count == 1 or not draws:
        return ()

    def gain(halves: Halves, score: float) -> float:
        return score - halves.mean(_held_out(kind, halves, 1, limits, generator)[0])

    def drawn() -> Iterator[tuple[float, float]]:
        for _ in range(draws):
            others = Halves.of(kind.drawn(runs, generator), generator)
            scored, dwell = _held_out(kind, others, count, limits, generator)
            yield gain(others, others.mean(scored)), dwell

    observed = gain(halves, score), trial.dwell
    columns = np.array(list(watch(drawn(), draws))).reshape(-1, 2).T
    return tuple(
        Null(kind.surrogate, kind.hypothesis, "recording", column[np.isfinite(column)], float(value), name)
        for name, column, value in zip(("gain", "dwell"), columns, observed, strict=True)
        if np.isfinite(column).any()
    )


def _as_large(null: Null) -> int:
    return int((null.draws >= null.observed).sum())


def _range(steps: np.ndarray) -> str:
    """ "3 to 20", or "3" where the two print alike."""
    ends = [f"{steps.min():.3g}", f"{steps.max():.3g}"]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
