"""Can a recurrent network that remembers by a power law be moved a little and still remember?

Wang, Li and Li (ICLR 2024) after Li, Han, E and Li (ICLR 2021, the curse of memory): a linear network of m units has the memory
sum_i c_i exp(lambda_i t). If ever larger networks approximate a target, and moves of every weight by up to one size leave their
errors small, then the target's memory falls exponentially; rates written as -exp(M) or -softplus(M) escape. The evidence is a
figure of errors E_m(size): for an exponential memory the curves of all m share a radius, for a power law they cross further
left the larger m.

Here the memory itself is fitted, with no data: for white inputs the mean squared error is the integral of the squared
difference of memories, given in shares of the target's own. Targets exp(-t) and (1 + t/10)^-1.1, m from 4 to 64, moves and
running maximum as in the released code. One control asks whether a radius that falls with m has counted the weights: moves of
one Euclidean length, whatever their number. Networks that are written down, not fitted, show what the theorem is about: all
rates -1 for exp(-t), and for the power law its Laplace integral on a grid of ln rate.

The figure is not reproduced (numbers of the full scale). Up to the paper's lag of 100 no fit of a power law needs rates much
slower than 1/100, however many units it has: its radius does not fall with m but rises, since more units share the slow part,
and neighbouring curves do not cross below an error of 1. Where a radius does fall, it counts the weights, for exp(-t) as for
the power law: to the power -0.3 to -0.4, and -0.03 to 0.13 when moves have one Euclidean length. What the theorem says is there
in two other numbers. The radius of a power law shrinks with the lag up to which it is kept, 46 times from 100 to 10 000 at 64
units, and that of exp(-t) does not. And rates written as exp or softplus give the power law a radius 4 to 16 times as large,
and exp(-t), which has no need of it, the same or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from analyses.maps.memory_function import memory_function
from analyses.result import Result
from analyses.weights.perturbation_error import PerturbationError, perturbation_error
from case_studies._study import CaseStudy, number_of
from hooks.dynamics import Dynamics
from interp.claims import Claim
from interp.journal import Journal

Target = Literal["exponential", "power law"]
Written = Literal["as they are", "as exp", "as softplus"]
TARGETS: Mapping[Target, Callable[[Tensor], Tensor]] = {
    "exponential": lambda t: torch.exp(-t),
    "power law": lambda t: (1 + t / 10) ** -1.1,
}
RATES: Mapping[Written, Callable[[Tensor], Tensor]] = {
    "as they are": lambda M: M,
    "as exp": lambda M: -torch.exp(M),
    "as softplus": lambda M: -softplus(M),
}
UNDONE: Mapping[Written, Callable[[Tensor], Tensor]] = {  # M of a rate below 0
    "as they are": lambda rate: rate,
    "as exp": lambda rate: torch.log(-rate),
    "as softplus": lambda rate: torch.log(torch.expm1(-rate)),
}
HORIZON, FAR = 100.0, 1e4  # the paper's, and one at which a power law still has memory
SIZES = 1e-3 * 2 ** (np.arange(-20, 21) / 2)  # the paper's from 1e-3 upwards
LAGS = 200


@dataclass(frozen=True)
class KernelError:
    """The squared difference of memories up to a horizon, over the target's own: (batch, 2 m) weights, rates first -> (batch,).

    Integrals are sums by the trapezoid rule over 0 and ``LAGS`` lags, evenly spaced in ln t from 0.01.
    """

    target: Target
    written: Written
    horizon: float

    def __call__(self, weights: Tensor) -> Tensor:
        M, c = weights.chunk(2, dim=1)
        t, share = _lags(self.target, self.horizon)
        memory = (torch.exp(RATES[self.written](M)[..., None] * t) * c[..., None]).sum(1)
        return ((memory - TARGETS[self.target](t)) ** 2 * share).sum(1)


def _lags(target: Target, horizon: float) -> tuple[Tensor, Tensor]:
    """Lags, and what each counts in the integral over the target's own."""
    zero = torch.zeros(1, dtype=torch.float64)
    t = torch.cat([zero, torch.logspace(-2, math.log10(horizon), LAGS, dtype=torch.float64)])
    share = (torch.cat([t.diff(), zero]) + torch.cat([zero, t.diff()])) / 2
    return t, share / (share * TARGETS[target](t) ** 2).sum()


def fitted(
    target: Target, written: Written, units: Sequence[int], *, seeds: int, updates: int, rate: float = 1e-2
) -> list[Tensor]:
    """Weights (seeds, 2 m) of networks of each size, by Adam (cosine decay) from rates drawn evenly in ln over 0.01 to 1."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.repeat_interleave(torch.arange(len(units)), torch.tensor(units))
    drawn = -torch.exp(math.log(1 / HORIZON) * torch.rand(seeds, len(owner), generator=generator, dtype=torch.float64))
    M = UNDONE[written](drawn).requires_grad_()
    c = torch.randn(seeds, len(owner), generator=generator, dtype=torch.float64) / torch.tensor(units)[owner]
    c.requires_grad_()
    t, share = _lags(target, HORIZON)
    wanted, sums = TARGETS[target](t), one_hot(owner).double().T
    optimiser = torch.optim.Adam([M, c], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates, eta_min=rate / 100)
    for _ in range(updates):
        optimiser.zero_grad()
        memory = sums @ (torch.exp(RATES[written](M)[..., None] * t) * c[..., None])
        ((memory - wanted) ** 2 * share).sum().backward()
        optimiser.step()
        schedule.step()
    return [torch.cat([M[:, owner == k], c[:, owner == k]], dim=1).detach() for k in range(len(units))]


def written_down(target: Target, units: Sequence[int]) -> list[Tensor]:
    """Weights (1, 2 m): m rates of -1 that share the memory exp(-t); the power law by its Laplace integral.

    (1 + t/10)^-p Gamma(p) = int exp(p u - e^u) exp(-t e^u / 10) du, by the trapezoid rule from u = 1.5 downwards, with the
    step of least error up to ``FAR``.
    """
    if target == "exponential":
        return [torch.cat([-torch.ones(1, m), torch.full((1, m), 1 / m)], dim=1).double() for m in units]
    error, found = KernelError(target, "as they are", FAR), []
    for m in units:
        step = torch.logspace(-1.5, 0.7, 200, dtype=torch.float64)[:, None]
        u = 1.5 - step * torch.arange(m)
        weights = torch.cat([-torch.exp(u) / 10, step * torch.exp(1.1 * u - torch.exp(u)) / math.gamma(1.1)], dim=1)
        found.append(weights[error(weights).argmin()][None])
    return found


def network(weights: Tensor, dt: float) -> Dynamics:
    """h' = exp(lambda dt) h + x, read by c: its memory function is the memory at multiples of ``dt``."""
    rates, c = weights.chunk(2)
    decays = torch.exp(rates * dt)
    return Dynamics(lambda h, x: decays * h + x, dim=len(c), driven=True, inputs=1, readout=lambda h: (h @ c)[:, None])


@dataclass(frozen=True, eq=False)
class Specimen:
    """Weights of each size by target and how rates are written, and those that are written down."""

    fits: Mapping[tuple[Target, Written], list[Tensor]]
    exact: Mapping[Target, list[Tensor]]
    units: tuple[int, ...]
    draws: int


def prepare(*, units: tuple[int, ...], written: tuple[Written, ...], seeds: int, updates: int, draws: int) -> Specimen:
    """Networks of these sizes and ways to write rates, fitted from as many seeds, to be moved ``draws`` times at each size."""
    fits = {
        (target, way): fitted(target, way, units, seeds=seeds, updates=updates) for target in TARGETS for way in written
    }
    return Specimen(fits, {target: written_down(target, units) for target in TARGETS}, units, draws)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Curves of each target and way to write rates, the control, the networks that are written down, and two memories."""
    sentences, draws = [], specimen.draws
    for (target, written), weights in specimen.fits.items():
        error = KernelError(target, written, HORIZON)
        found = journal.note(f"{target}, rates {written}", perturbation_error, error, weights, sizes=SIZES, draws=draws)
        sentences.append(
            f"{target}, rates {written}: unmoved networks of {_listed(specimen.units)} units err by "
            f"{', '.join(f'{value:.2g}' for value in np.median(found.unmoved, axis=1))} of the target; {found.summary()}."
        )
        control = journal.note(
            f"{target}, rates {written}, moves of one length", perturbation_error, error, weights, sizes=SIZES, draws=draws,
            norm="euclidean",
        )  # fmt: skip
        sentences.append(f"{target}, rates {written}, moves of one Euclidean length: {control.summary()}.")
    for target, weights in specimen.exact.items():
        for horizon in (HORIZON, FAR):
            found = journal.note(
                f"{target}, written down, up to {horizon:g}", perturbation_error,
                KernelError(target, "as they are", horizon), weights, sizes=SIZES, norm="euclidean", draws=draws,
            )  # fmt: skip
            sentences.append(f"{target}, written down, up to a lag of {horizon:g}: {found.summary()}.")
    for target, dt, steps in (("exponential", 0.1, 50), ("power law", 1.0, 100)):
        largest = specimen.fits[target, "as they are"][-1][0]
        memory = journal.note(
            f"memory of {specimen.units[-1]} units: {target}", memory_function, network(largest, dt),
            np.zeros(len(largest) // 2), steps=steps,
        )  # fmt: skip
        sentences.append(f"{target}, {specimen.units[-1]} units, steps of {dt:g}: {memory.summary()}.")
    return tuple(sentences)


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def _moved(title: str, read: Callable[[PerturbationError], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the errors of this title; NaN for fewer than four sizes of networks, which have no trend."""

    def measure(results: Mapping[str, Result]) -> float:
        found = results[title]
        assert isinstance(found, PerturbationError)
        return float(read(found)) if len(found.weights) > 3 else math.nan

    return measure


def _further_left(found: PerturbationError) -> float:
    """Whether neighbouring curves cross, at sizes that fall with the number of weights at least as its -1/4."""
    crossed = np.isfinite(found.crossings)
    if crossed.sum() < 2:
        return 0.0
    at = np.log(found.weights[1:][crossed])
    return float(np.polyfit(at, np.log(found.crossings[crossed]), 1)[0] <= -0.25)


def _shrinks(target: Target) -> Callable[[Mapping[str, Result]], float]:
    """log10 of the radius up to the far horizon over that up to the paper's, of the largest network."""

    def measure(results: Mapping[str, Result]) -> float:
        radii = []
        for horizon in (HORIZON, FAR):
            found = results[f"{target}, written down, up to {horizon:g}"]
            assert isinstance(found, PerturbationError)
            radii.append(found.radii()[-1] if len(found.weights) > 3 else math.nan)
        return math.log10(radii[1] / radii[0])

    return measure


FIGURE = "the paper's figure of perturbation errors"
SHARED = "a radius that is shared does not depend on m; counting weights gives -0.4"
YES = "yes or no"

study = CaseStudy(
    title="Can a network that remembers by a power law be moved a little and still remember?",
    citation="Wang, Li, Li, Inverse approximation theory for nonlinear recurrent neural networks, ICLR 2024, arXiv 2305.19190",
    question="Does the radius within which weights can be moved tell an exponential memory from a power law?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("exponential, rates as they are: power of the radius in the number of weights", 0, FIGURE, 0.1, SHARED,
              _moved("exponential, rates as they are", lambda found: found.slope())),
        Claim("power law, rates as they are: curves cross further left", 1, FIGURE, 0, YES,
              _moved("power law, rates as they are", _further_left)),
        Claim("exponential, rates as they are: curves cross further left", 0, FIGURE, 0, YES,
              _moved("exponential, rates as they are", _further_left)),
        *(Claim(f"power law, rates {written}: power of the radius in the number of weights", 0, FIGURE, 0.1, SHARED,
                _moved(f"power law, rates {written}", lambda found: found.slope())) for written in ("as exp", "as softplus")),
        *(Claim(f"{target}, rates {written}, moves of one length: power of the radius in the number of weights", 0,
                "control: where the number of weights alone counts", 0.1, SHARED,
                _moved(f"{target}, rates {written}, moves of one length", lambda found: found.slope()))
          for target in TARGETS for written in RATES),
        Claim("exponential, written down: log10 of the radius up to 10 000 over that up to 100", 0,
              "the theorem: one radius at every horizon", 0.2, "a half", _shrinks("exponential")),
        Claim("power law, written down: log10 of the radius up to 10 000 over that up to 100", -2,
              "a rate of 1/horizon may be moved by 1/horizon", 0.5, "a factor of three", _shrinks("power law")),
        Claim("exponential, 64 units: rate of forgetting a unit of time", -1, "the target", 0.05, "errors of the fit at lag 5",
              number_of("memory of 64 units: exponential", lambda found: found.rate / 0.1)),
        Claim("power law, 64 units: memory at lag 99", 10.9**-1.1, "the target", 0.1 * 10.9**-1.1, "a tenth",
              number_of("memory of 64 units: power law", lambda found: found.memory[-1])),
    ),
    scales={
        "tiny": {"units": (4, 8), "written": ("as they are",), "seeds": 1, "updates": 50, "draws": 1},
        "quick": {"units": (4, 8, 16, 32, 64), "written": tuple(RATES), "seeds": 4, "updates": 2000, "draws": 10},
        "full": {"units": (4, 8, 16, 32, 64), "written": tuple(RATES), "seeds": 10, "updates": 10_000, "draws": 30},
    },
)  # fmt: skip
