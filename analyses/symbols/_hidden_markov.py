"""Fits of hidden Markov chains by hmmlearn, and the scoring of held-out pieces."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.stats import multivariate_normal

from analyses.result import Outcome
from analyses.surrogates import phase_randomised

PIECES = 8  # at least, into which runs are cut for scoring
FLOOR = 1e-6  # of the recording's own variance: a state this narrow in some direction has collapsed onto points
SAME = 1e-3  # nats a step: two starts this close reached the same optimum


@dataclass(frozen=True)
class Limits:
    starts: int
    iterations: int
    tolerance: float


@dataclass(frozen=True, eq=False)
class Fit:
    """The best of several starts, in hmmlearn's order of states."""

    model: Any
    log_likelihood: float
    transitions: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    order: np.ndarray
    reached: int
    outcome: Outcome
    fall: float

    @classmethod
    def none(cls, width: int, outcome: Outcome) -> Fit:
        """Where no start served."""
        return cls(None, np.nan, np.zeros((0, 0)), np.zeros((0, width)), np.zeros((0, width, width)),
                   np.zeros(0, dtype=np.int64), 0, outcome, 0.0)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Halves:
    """Pieces of the runs, dealt into two halves; each is scored by what was fitted to the other."""

    pieces: tuple[np.ndarray, ...]
    half: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[np.ndarray], generator: np.random.Generator) -> Halves:
        parts = -(-PIECES // max(1, len(runs)))
        pieces = [part for run in runs for part in np.array_split(run, parts) if len(part)]
        return cls(tuple(pieces), generator.permutation(len(pieces)) % 2)

    @property
    def steps(self) -> int:
        return sum(map(len, self.pieces))

    def of_half(self, half: int) -> list[np.ndarray]:
        return [piece for piece, own in zip(self.pieces, self.half, strict=True) if own == half]

    def scored(self, fitted: Callable[[list[np.ndarray]], Callable[[np.ndarray], float]]) -> np.ndarray:
        """(pieces,) log-likelihoods, each by ``fitted`` to the other half."""
        by_half = [fitted(self.of_half(1 - half)) for half in (0, 1)]
        return np.array([by_half[half](piece) for piece, half in zip(self.pieces, self.half, strict=True)])

    def mean(self, scored: np.ndarray) -> float:
        """Nats a step."""
        return float(scored.sum()) / max(1, self.steps) if len(scored) else np.nan

    def error(self, difference: np.ndarray) -> float:
        """Standard error of the mean over steps, from the pieces."""
        n = len(self.pieces)
        return float(difference.std(ddof=1) * np.sqrt(n) / self.steps) if n > 1 else np.nan


@dataclass(frozen=True, eq=False)
class Vectors:
    """Gaussian emissions, in coordinates where the recording has unit covariance."""

    center: np.ndarray
    basis: np.ndarray  # (dim, width): coordinates are (state - center) @ basis
    back: np.ndarray  # (width, dim)
    width: int
    surrogate: str = "phases randomised"
    hypothesis: str = "the recording is a linear Gaussian process of its own spectra"

    @classmethod
    def of(cls, values: np.ndarray) -> Vectors:
        if not len(values):
            dim = values.shape[1]
            return cls(np.zeros(dim), np.zeros((dim, 0)), np.zeros((0, dim)), 0)
        center = values.mean(axis=0)
        _, sizes, axes = np.linalg.svd((values - center) / np.sqrt(len(values)), full_matrices=False)
        kept = sizes > 1e-8 * max(1e-300, float(np.abs(values).max(initial=0)))
        return cls(center, axes[kept].T / sizes[kept], sizes[kept, None] * axes[kept], int(kept.sum()))

    def coded(self, run: np.ndarray) -> np.ndarray:
        return (run - self.center) @ self.basis

    def parameters(self, count: int) -> int:
        return count * count - 1 + count * self.width * (self.width + 3) // 2

    def start(self, pieces: list[np.ndarray], count: int, limits: Limits, generator: np.random.Generator) -> Any:
        from hmmlearn.hmm import GaussianHMM

        model = GaussianHMM(
            count, "full", covars_prior=FLOOR * np.eye(self.width), init_params="s",
            random_state=int(generator.integers(1 << 31)),
        )  # fmt: skip
        points = np.concatenate(pieces)
        model.means_ = kmeans2(points, count, iter=1, minit="++", rng=generator)[0]
        model.covars_ = np.tile(np.eye(self.width), (count, 1, 1))
        return model

    def read(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        return model.means_, model.covars_

    def smooth(self, model: Any, steps: int) -> None:
        """A Gaussian gives every point some density."""

    def means(self, means: np.ndarray) -> np.ndarray:
        return means @ self.back + self.center

    def covariances(self, covariances: np.ndarray) -> np.ndarray:
        return self.back.T @ covariances @ self.back

    def without_states(self, pieces: list[np.ndarray]) -> Callable[[np.ndarray], float]:
        """A first-order Gaussian autoregression; the first state of a piece by the recording's own Gaussian."""
        now, then = (np.concatenate([piece[part] for piece in pieces]) for part in (slice(-1), slice(1, None)))
        full = np.column_stack([now, np.ones(len(now))])
        weights = np.linalg.lstsq(full, then, rcond=None)[0]
        errors = then - full @ weights
        step = multivariate_normal(np.zeros(self.width), errors.T @ errors / len(errors) + FLOOR * np.eye(self.width))
        first = multivariate_normal(np.zeros(self.width), np.eye(self.width))

        def score(piece: np.ndarray) -> float:
            before = np.column_stack([piece[:-1], np.ones(len(piece) - 1)])
            return float(first.logpdf(piece[0]) + np.sum(step.logpdf(piece[1:] - before @ weights)))

        return score

    def drawn(self, runs: Sequence[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
        seeded = torch.Generator().manual_seed(int(generator.integers(1 << 31)))
        return [phase_randomised(run[None], generator=seeded)[0] for run in runs]


@dataclass(frozen=True, eq=False)
class Symbols:
    """Categorical emissions."""

    width: int
    surrogate: str = "Markov chain of the symbols"
    hypothesis: str = "the next symbol depends on the last one alone"

    @classmethod
    def of(cls, values: np.ndarray) -> Symbols:
        return cls(int(values.max(initial=-1)) + 1)

    def coded(self, run: np.ndarray) -> np.ndarray:
        return run.astype(np.int64)

    def parameters(self, count: int) -> int:
        return count * count - 1 + count * (self.width - 1)

    def start(self, pieces: list[np.ndarray], count: int, limits: Limits, generator: np.random.Generator) -> Any:
        from hmmlearn.hmm import CategoricalHMM

        return CategoricalHMM(
            count, n_features=self.width, init_params="se", random_state=int(generator.integers(1 << 31))
        )

    def read(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        return model.emissionprob_, np.zeros((len(model.emissionprob_), 0, 0))

    def smooth(self, model: Any, steps: int) -> None:
        """One count added to each symbol of each state, as in the control: a symbol of one half alone has some chance."""
        heard = steps * stationary(model.transmat_)[:, None] * model.emissionprob_ + 1
        model.emissionprob_ = heard / heard.sum(axis=1, keepdims=True)

    def means(self, means: np.ndarray) -> np.ndarray:
        return means

    def covariances(self, covariances: np.ndarray) -> np.ndarray:
        return np.zeros((0, 0, 0))

    def without_states(self, pieces: list[np.ndarray]) -> Callable[[np.ndarray], float]:
        """A first-order Markov chain, one count added to each transition."""
        first, chain = self._chain(pieces)
        return lambda piece: float(np.log(first[piece[0, 0]]) + np.log(chain[piece[:-1, 0], piece[1:, 0]]).sum())

    def drawn(self, runs: Sequence[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
        first, chain = self._chain(list(runs))
        longest = max(map(len, runs))
        heard = np.empty((len(runs), longest), dtype=np.int64)
        cumulative = np.cumsum(chain, axis=1)
        heard[:, 0] = generator.choice(self.width, len(runs), p=first)
        for step in range(1, longest):
            uniform = generator.random((len(runs), 1))
            heard[:, step] = (uniform > cumulative[heard[:, step - 1]]).sum(axis=1).clip(max=self.width - 1)
        return [row[: len(run), None] for row, run in zip(heard, runs, strict=True)]

    def _chain(self, pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        counts = np.ones((self.width, self.width))
        for piece in pieces:
            np.add.at(counts, (piece[:-1, 0], piece[1:, 0]), 1)
        first = np.bincount(np.concatenate(pieces)[:, 0], minlength=self.width) + 1.0
        return first / first.sum(), counts / counts.sum(axis=1, keepdims=True)


Kind = Vectors | Symbols


def fitted(kind: Kind, pieces: list[np.ndarray], count: int, limits: Limits, generator: np.random.Generator) -> Fit:
    """The start of EM that ends at the largest likelihood."""
    steps = sum(map(len, pieces))
    if not kind.width or kind.parameters(count) >= steps:
        return Fit.none(kind.width, Outcome.TOO_SHORT)
    data, lengths = np.concatenate(pieces), [len(piece) for piece in pieces]
    ended = []
    for _ in range(limits.starts if count > 1 else 1):  # one state has one optimum
        model = kind.start(pieces, count, limits, generator)
        stay = generator.random()  # chains that linger and chains that do not, since EM seldom turns one into the other
        model.transmat_ = stay * np.eye(count) + (1 - stay) * generator.dirichlet(np.ones(count), count)
        model.n_iter, model.tol = limits.iterations, limits.tolerance * steps
        model.monitor_ = type(model.monitor_)(model.tol, model.n_iter, False)
        with _silent():
            try:
                model.fit(data, lengths)
                total = model.score(data, lengths)
            except ValueError:  # a covariance or a row of transitions came to nothing
                continue
        means, covariances = kind.read(model)
        narrow = np.linalg.eigvalsh(covariances).min(initial=1.0) if covariances.size else 1.0
        if np.isfinite(total) and narrow > FLOOR:
            ended.append((total, model, means, covariances))
    if not ended:
        return Fit.none(kind.width, Outcome.DEGENERATE)
    total, model, means, covariances = max(ended, key=lambda one: one[0])
    kind.smooth(model, steps)
    gains = np.diff(model.monitor_.history)
    order = np.argsort(
        means @ np.arange(kind.width) if covariances.size == 0 else kind.means(means)[:, 0], kind="stable"
    )
    return Fit(
        model=model,
        log_likelihood=float(total),
        transitions=model.transmat_,
        means=means,
        covariances=covariances,
        order=order,
        reached=sum(total - one[0] <= SAME * steps for one in ended) if count > 1 else limits.starts,
        outcome=Outcome.CONVERGED if len(gains) and abs(gains[-1]) < model.tol else Outcome.OUT_OF_STEPS,
        fall=float(max(0.0, -gains.min(initial=0.0))) / steps,
    )


def stationary(transitions: np.ndarray) -> np.ndarray:
    """(states,) shares that the transitions (states, states) keep."""
    states = len(transitions)
    equations = np.vstack([transitions.T - np.eye(states), np.ones(states)])
    return np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0].clip(min=0)


@contextmanager
def _silent() -> Iterator[None]:
    """hmmlearn's log messages off: what they warn of is in the outcome, the count of starts and the checks."""
    logger = logging.getLogger("hmmlearn")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
