"""Learning to integrate: by which change of its weights does a linear network come to remember?

A linear network h' = -h + W h + u x(t), y = v.h driven by white noise answers with the kernel v' exp((W - I) t) u, and learns
to integrate when that becomes exp(-c t): an eigenvalue of W has to go to 1 - c. Weights of W begin with variance g^2 / N. At
small g ("rich") one eigenvalue leaves the bulk, by a change of rank one; at large g ("lazy") existing modes are recombined
(Bordelon et al., arXiv 2503.18754). Here the loss is the integral of the squared difference of the kernels over three time
constants; u, v and W descend its gradient, all networks as one batch. Beside the paper's question stand the kernel
exp(-c t) cos(omega t), which needs a pair 1 - c +- i omega; other time constants; and the network of two units with W = 0 and
the same products of u and v, which is what small g must tend to: every gradient of W lies in the plane of u and v.

Measured at full scale, five seeds: every claim agrees but the one that the bulk stays. Relative to the same change in random
places it moves least at g = 0.01 (a thirtieth) and by up to 0.68 at g = 0.6, since the change is of rank one but not of a
direction that the bulk does not use. At g = 0.9 nothing leaves: 1 - c lies within the disk, and the share of rank one runs
from 0.69 to 0.96 by the seed, so that lazy or rich is not a matter of g alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.result import Result
from analyses.weights.outliers import OutlierEigenvalues, outlier_eigenvalues
from case_studies._study import CaseStudy
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

UNITS, UPDATES, DT = 60, 2500, 0.1
RATE, DECAY = 0.0015, 0.1  # the largest curvature grows as 1 / c^3, so the rate is RATE (c / DECAY)^3
KEPT = (0, 25, 50, 75, 100, 125, 150, 175, 200, 250, 300, 400, 600, 800, 1000, 1500, 2000, 2500)
ROW = 16  # kernel values that one block of powers gives


@dataclass(frozen=True)
class Setting:
    """One network and its kernel exp(-decay t) cos(turn t)."""

    gain: float
    seed: int
    decay: float = DECAY
    turn: float = 0.0

    def __str__(self) -> str:
        kernel = f", decay {self.decay}" if self.decay != DECAY else ""
        return f"g = {self.gain}{kernel}{f', turn {self.turn}' if self.turn else ''}, seed {self.seed}"

    @property
    def goal(self) -> complex:
        """The eigenvalue of W that the kernel needs."""
        return complex(1 - self.decay, self.turn)


SEEDS = 5  # at full scale
GAINS, SMALL = (0.01, 0.3, 0.6, 0.9), (0.01, 0.3, 0.6)
TURNS = tuple(Setting(gain, seed, turn=0.5) for gain in (0.3, 0.6) for seed in (0, 1))
DECAYS = tuple(Setting(0.3, seed, decay) for decay in (0.2, 0.4) for seed in (0, 1))


@dataclass(frozen=True, eq=False)
class Training:
    """The history of W of one network, (checkpoints, units, units), and of its loss."""

    history: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True, eq=False)
class Specimen:
    """Trained networks by setting, and the two-unit networks of the seeds at the smallest gain."""

    networks: Mapping[Setting, Training]
    planar: Mapping[int, Training]
    kept: tuple[int, ...]


def drawn(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """W (units, units) of variance g^2 / N, u and v (units,) of variance 1 / N."""
    generator = torch.Generator().manual_seed(setting.seed)
    W, u, v = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) / UNITS**0.5
        for shape in ((UNITS, UNITS), (UNITS,), (UNITS,))
    )
    return setting.gain * W, u, v


def planar(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """The same u and v in the coordinates of their plane, and W = 0."""
    _, u, v = drawn(setting)
    inside = torch.linalg.qr(torch.stack([u, v], dim=1)).R
    return inside.new_zeros(2, 2), inside[:, 0], inside[:, 1]


def kernels(W: Tensor, u: Tensor, v: Tensor, steps: int) -> Tensor:
    """(batch, steps + 1) v' E^i u with E = exp((W - I) DT): powers of E by multiplication, i = ROW a + b."""
    E = torch.linalg.matrix_exp((W - torch.eye(W.shape[-1]).to(W)) * DT)
    columns, far = _powers(E, u, ROW)
    rows, _ = _powers(far.mT, v, steps // ROW + 1)
    return (rows @ columns.mT).flatten(1)[:, : steps + 1]


def _powers(E: Tensor, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(batch, count, units) x, E x, E^2 x, ... by doubling, and E to the power of the next power of two."""
    found = x[:, None]
    while found.shape[1] < count:
        found, E = torch.cat([found, found @ E.mT], dim=1), E @ E
    return found[:, :count], E


def trained(
    settings: Sequence[Setting],
    start: Callable[[Setting], tuple[Tensor, Tensor, Tensor]],
    kept: Sequence[int],
    name: str,
) -> tuple[Training, ...]:
    """Plain gradient descent of every network at once, to the last update that is kept."""
    W, u, v = weights = [torch.stack(each).requires_grad_() for each in zip(*map(start, settings), strict=True)]
    decay, turn = torch.tensor([[one.decay, one.turn] for one in settings], dtype=torch.float64).mT[:, :, None]
    steps = round(3 / float(decay.min()) / DT)
    t = DT * torch.arange(steps + 1, dtype=torch.float64)
    target, within = torch.exp(-decay * t) * torch.cos(turn * t), DT * (t <= 3 / decay + DT / 2)
    rates = (RATE * (decay / DECAY) ** 3)[:, 0]

    def updates() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(kept[-1] + 1):
            losses = (within * (kernels(W, u, v, steps) - target) ** 2).sum(dim=1)
            gradients = torch.autograd.grad(losses.sum(), weights)
            yield W.detach().clone(), losses.detach()
            with torch.no_grad():
                for each, slope in zip(weights, gradients, strict=True):
                    each -= rates.reshape(-1, *(1,) * (slope.ndim - 1)) * slope

    rows = [state for update, state in enumerate(meter(name)(updates(), kept[-1] + 1)) if update in kept]
    history, losses = (torch.stack(each, dim=1).numpy() for each in zip(*rows, strict=True))
    return tuple(Training(*each) for each in zip(history, losses, strict=True))


def prepare(*, seeds: int, updates: int, others: int) -> Specimen:
    """Networks of every gain for as many seeds, and of the other kernels for as many as ``others``."""
    kept = tuple(update for update in KEPT if update <= updates)
    settings = tuple(Setting(gain, seed) for gain in GAINS for seed in range(seeds))
    settings += tuple(one for one in TURNS + DECAYS if one.seed < others)
    rich = tuple(Setting(GAINS[0], seed) for seed in range(seeds))
    networks = trained(settings, drawn, kept, "training")
    small = trained(rich, planar, kept, "training two units")
    return Specimen(
        dict(zip(settings, networks, strict=True)),
        {one.seed: each for one, each in zip(rich, small, strict=True)},
        kept,
    )


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The spectrum over training of each network and of its two-unit twin."""
    judged = "" if specimen.kept[-1] == UPDATES else f", after {specimen.kept[-1]} updates"
    sentences = []
    for setting, training in specimen.networks.items():
        found = journal.note(f"{setting}{judged}", outlier_eigenvalues, training.history, updates=specimen.kept)
        near = found.eigenvalues[-1][np.abs(found.eigenvalues[-1] - setting.goal).argmin()]
        learned = np.flatnonzero(training.losses < 0.05 * training.losses[0])
        when = f"by update {specimen.kept[learned[0]]}" if len(learned) else "at no checkpoint"
        sentences.append(
            f"{setting}. {found.summary()}. Wanted {setting.goal:.3g}, nearest {near:.4g}; the loss fell to a twentieth {when} "
            f"and to {training.losses[-1]:.2g} in the end."
        )  # fmt: skip
    for seed, training in specimen.planar.items():
        journal.note(f"{_twin(seed)}{judged}", outlier_eigenvalues, training.history, updates=specimen.kept)
    return tuple(sentences)


def _twin(seed: int) -> str:
    return f"two units, W = 0, seed {seed}"


def _at(gains: Sequence[float]) -> tuple[Setting, ...]:
    return tuple(Setting(gain, seed) for gain in gains for seed in range(SEEDS))


def _of(results: Mapping[str, Result], setting: Setting) -> OutlierEigenvalues:
    found = results[str(setting)]
    assert isinstance(found, OutlierEigenvalues)
    return found


def _seeds(results: Mapping[str, Result]) -> list[int]:
    """Seeds that were trained to the end; a KeyError when none was."""
    found = [seed for seed in range(SEEDS) if _twin(seed) in results]
    if not found:
        raise KeyError("too short to judge")
    return found


def _among(
    settings: Sequence[Setting], read: Callable[[OutlierEigenvalues, Setting], float], reduce: Callable[[Any], Any]
) -> Callable[[Mapping[str, Result]], float]:
    """A number of each of these networks that was trained to the end, made one; a KeyError where none was."""

    def measure(results: Mapping[str, Result]) -> float:
        found = [read(_of(results, one), one) for one in settings if str(one) in results]
        if not found:
            raise KeyError("none trained to the end")
        return float(reduce(found))

    return measure


def _miss(found: OutlierEigenvalues, setting: Setting) -> float:
    return float(np.abs(found.eigenvalues[-1] - setting.goal).min())


def _alone(found: OutlierEigenvalues, setting: Setting) -> float:
    return float(found.shares[-1, 0])


def _moved(found: OutlierEigenvalues, setting: Setting) -> float:
    """How far the bulk moved, over what the shuffled change moves it by."""
    return found.bulk_shift / float(np.median(found.nulls[2].draws))


def _falls(results: Mapping[str, Result]) -> float:
    """Share of seeds in which the norm of the change falls from gain to gain."""
    norms = [[_of(results, Setting(gain, seed)).changes[-1] for gain in GAINS] for seed in _seeds(results)]
    return float((np.diff(norms, axis=1) < 0).all(axis=1).mean())


def _lower(results: Mapping[str, Result]) -> float:
    """Mean share of rank one at the largest gain less that at the others."""
    lazy, rich = (_among(_at(gains), _alone, np.mean)(results) for gains in (GAINS[-1:], SMALL))
    return lazy - rich


def _earlier(results: Mapping[str, Result]) -> float:
    """Largest difference of the norms of seed 0 from those measured before."""
    found = [_of(results, Setting(gain, 0)).changes[-1] for gain in GAINS]
    return float(np.abs(np.subtract(found, (0.91, 0.63, 0.37, 0.27))).max())


def _apart(results: Mapping[str, Result]) -> float:
    """Largest distance, over training, of the outlier of a network of small gain from that of its two units."""
    gaps = []
    for seed in _seeds(results):
        two = results[_twin(seed)]
        assert isinstance(two, OutlierEigenvalues)
        gaps.append(np.abs(_of(results, Setting(GAINS[0], seed)).eigenvalues[:, 0] - two.eigenvalues[:, 0]).max())
    return float(np.max(gaps))


PAPER, THEORY = "Bordelon et al.", "the kernel's own pole"
CLOSE = "a tenth of the smallest decay"
study = CaseStudy(
    title="Learning to integrate: an eigenvalue leaves the bulk",
    citation="Bordelon, Cotler, Pehlevan, Zavatone-Veth, Dynamics of learning to integrate in linear recurrent neural "
    "networks, arXiv 2503.18754; circular law: Tao and Vu, Ann. Probab. 38, 2010",
    question="Does a linear network learn to integrate by one outlier eigenvalue and a change of rank one, at which gains?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("integrating eigenvalue: largest distance from 1 - c", 0, THEORY, 0.01, CLOSE, _among(_at(GAINS), _miss, np.max)),
        Claim("g up to 0.6: share of networks with exactly one outlier", 1, PAPER, 0, "each",
              _among(_at(SMALL), lambda found, _: len(found.left) == 1, np.mean)),
        Claim("g = 0.9: most outliers", 0, "1 - c = 0.9 is not beyond the circular law's disk of radius 0.9", 0, "none",
              _among(_at(GAINS[-1:]), lambda found, _: len(found.left), np.max)),
        Claim("g up to 0.6: smallest share of the change that is of rank one", 1, PAPER, 0.05, "seen before: 0.98 and 0.99",
              _among(_at(SMALL), _alone, np.min)),
        Claim("g up to 0.6: share of networks whose rank-one share beats a shuffled change", 1, PAPER, 0, "each, at p = 0.05",
              _among(_at(SMALL), lambda found, _: found.nulls[1].beaten, np.mean)),
        Claim("g up to 0.6: largest shift of the bulk over a shuffled change's", 0, "the bulk does not move", 0.5,
              "half of what the same change moves in random places", _among(_at(SMALL), _moved, np.max)),
        Claim("g = 0.9: share of rank one less that at smaller gains", -0.29, "one network seen before: 0.69 against 0.98", 0.2,
              "one network; below a tenth would be no difference", _lower),
        Claim("share of seeds in which the change shrinks from gain to gain", 1, "rich to lazy", 0, "each", _falls),
        Claim("norms of the change of seed 0: largest difference from an independent run", 0, "0.91, 0.63, 0.37, 0.27", 0.01,
              "printed to two digits", _earlier),
        Claim("g = 0.01: largest distance from the path of two units with W = 0", 0, "gradients lie in the plane of u and v",
              0.02, "twice the gain", _apart),
        Claim("turning kernel: largest distance from 1 - c + i omega", 0, THEORY, 0.01, CLOSE, _among(TURNS, _miss, np.max)),
        Claim("turning kernel: share of networks with exactly two outliers", 1, "a conjugate pair", 0, "each",
              _among(TURNS, lambda found, _: len(found.left) == 2, np.mean)),
        Claim("turning kernel: smallest share of the change of rank two", 1, "a plane turns", 0.05, "as for rank one",
              _among(TURNS, lambda found, _: float(found.shares[-1, :2].sum()), np.min)),
        Claim("decays 0.2 and 0.4: largest distance from 1 - c", 0, THEORY, 0.01, CLOSE, _among(DECAYS, _miss, np.max)),
    ),
    scales={
        "tiny": {"seeds": 1, "updates": 25, "others": 0},
        "quick": {"seeds": 1, "updates": UPDATES, "others": 1},
        "full": {"seeds": SEEDS, "updates": UPDATES, "others": 2},
    },
)  # fmt: skip
