"""Can a recurrent network remember by a power law, and does the memory bear a change of its weights?

Wang, Li and Li (ICLR 2024, arXiv 2305.19190): a target that recurrent networks approximate stably, with one radius of weights
for all widths, forgets exponentially; a target that forgets by a power law is approximated too, by ever slower units, but the
radius shrinks with the width, unless the weights enter through a map that keeps every unit stable. Here the kernels themselves
are fitted, sums of exponentials as a linear network of m units has them, at widths 4 to 64: no data, and the worst error over
all bounded inputs is the integral of the kernels' difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps.memory_function import MemoryFunction, memory_function
from analyses.result import Result
from analyses.weights.perturbation_error import perturbation_error
from case_studies._study import CaseStudy
from hooks.dynamics import Dynamics
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

LENGTH = 100.0  # of the inputs, as theirs
GRID = 0.25
SHARE = 0.1  # of the target's integral: the change in the error that is allowed

Kernel = Callable[[Tensor], Tensor]
TARGETS: Mapping[str, Kernel] = {
    "exponential": lambda t: torch.exp(-t),
    "power law": lambda t: (1 + 0.1 * t) ** -1.1,
}
MAPS: Mapping[str, Kernel] = {
    "rates": lambda w: w,
    "rates through softplus": torch.nn.functional.softplus,
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A kernel sum_i c_i exp(-rate(w_i) t) as weights (c, w)."""

    target: str
    through: str
    weights: Tensor  # (2 m,)

    def error(self, weights: Tensor) -> Tensor:
        """(draws,) integral of |kernel - target| over the length."""
        t = _times()
        c, w = weights.chunk(2, dim=-1)
        kernel = (c[..., None] * torch.exp(-MAPS[self.through](w)[..., None] * t)).sum(-2)
        return torch.trapezoid((kernel - TARGETS[self.target](t)).abs(), t)

    def dynamics(self) -> Dynamics:
        """The linear network, a step a unit of time; the input enters every unit."""
        c, w = self.weights.chunk(2)
        decay = torch.exp(-MAPS[self.through](w))
        return Dynamics(
            lambda h, x: decay * h + x,
            dim=len(c),
            name=f"{len(c)} leaky units",
            driven=True,
            inputs=1,
            readout=lambda h: (h @ c)[:, None],
        )


@dataclass(frozen=True, eq=False)
class Specimen:
    fitted: tuple[Fitted, ...]
    draws: int
    judged: bool


def prepare(*, widths: tuple[int, ...], updates: int, draws: int, judged: bool) -> Specimen:
    """Every target at every width, its rates as weights and through softplus."""
    fitted = [
        _fit(target, through, width, updates, f"{target}, {through}, {width} units")
        for target in TARGETS
        for through in MAPS
        for width in widths
    ]
    return Specimen(tuple(fitted), draws, judged)


def _times() -> Tensor:
    return torch.arange(0, LENGTH + GRID, GRID, dtype=torch.float64)


def _fit(target: str, through: str, width: int, updates: int, name: str) -> Fitted:
    """Adam on the mean square, from rates spread evenly in their logarithm and equal shares."""
    rates = torch.logspace(-2, 0.3, width, dtype=torch.float64)
    w = rates if through == "rates" else torch.log(torch.expm1(rates))
    weights = torch.cat([torch.full((width,), 1 / width, dtype=torch.float64), w]).requires_grad_()
    for _ in meter(name)(_updates(weights, target, through, updates), updates):
        pass
    return Fitted(target, through, weights.detach())


def _updates(weights: Tensor, target: str, through: str, updates: int) -> Iterator[int]:
    t = _times()
    wanted, optimiser = TARGETS[target](t), torch.optim.Adam([weights], lr=3e-3)
    for update in range(updates):
        optimiser.zero_grad()
        c, w = weights.chunk(2)
        kernel = (c[:, None] * torch.exp(-MAPS[through](w)[:, None] * t)).sum(0)
        (kernel - wanted).square().mean().backward()
        optimiser.step()
        yield update


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The perturbation error of every fit, and the memory function of the widest of each kind."""
    judged = "" if specimen.judged else ", too short to judge"
    said = []
    widest = max(len(fit.weights) for fit in specimen.fitted)
    for fit in specimen.fitted:
        title = f"{fit.target}, {fit.through}, {len(fit.weights) // 2} units{judged}"
        t = _times()
        integral = float(torch.trapezoid(TARGETS[fit.target](t), t))
        allowed = float(fit.error(fit.weights[None])) + SHARE * integral
        found = journal.note(title, perturbation_error, fit.error, fit.weights, allowed=allowed, draws=specimen.draws)
        said.append(
            f"{title}: radius {found.radius:.3g}, error {found.worst[0] / integral:.2g} of the target's integral"
        )
        if len(fit.weights) == widest:
            name = f"memory, {fit.target}, {fit.through}{judged}"
            journal.note(name, memory_function, fit.dynamics(), np.zeros(widest // 2), steps=int(LENGTH))
    return ("; ".join(said) + ".",)


def _radii(kind: str, wider: int, narrower: int) -> Callable[[Mapping[str, Result]], float]:
    """Radius of the wider network over that of the narrower one, as a power of 2."""

    def measured(results: Mapping[str, Result]) -> float:
        radii = [results[f"{kind}, {units} units"].radius for units in (wider, narrower)]  # type: ignore[attr-defined]
        return float(np.log2(radii[0] / radii[1]))

    return measured


def _rate(results: Mapping[str, Result]) -> float:
    found = results["memory, exponential, rates"]
    assert isinstance(found, MemoryFunction)
    return found.rate


PAPER = "Wang, Li, Li, ICLR 2024"

study = CaseStudy(
    title="Memory of recurrent networks: exponential targets are borne, power laws not?",
    citation="Wang, Li, Li, Inverse Approximation Theory for Nonlinear Recurrent Neural Networks, ICLR 2024, arXiv 2305.19190",
    question="Does the change of weights that a network bears shrink with its width where the target forgets by a power law, "
    "and not where it forgets exponentially?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("exponential target: radius at 64 units over that at 4, powers of 2", 0, f"{PAPER}, figure 1: one radius", 1,
              "within a factor of two: sizes are half a power of 2 apart", _radii("exponential, rates", 64, 4)),
        Claim("power law: radius at 64 units over that at 4, powers of 2", -2.5, f"{PAPER}, figure 1: crossings move left, our "
              "reading of at least two powers", 1.5, "smaller by a factor of two at least", _radii("power law, rates", 64, 4)),
        Claim("power law through softplus: radius at 64 units over that at 4, powers of 2", 0,
              f"{PAPER}, figure 3: the reparametrisation restores it", 1, "as the first",
              _radii("power law, rates through softplus", 64, 4)),
        Claim("rate at which 64 units fitted to exp(-t) forget", -1, "the target's own", 0.1,
              "a tenth: the envelope reaches nine decades down, the fit is judged by its square", _rate),
    ),
    scales={
        "tiny": {"widths": (4,), "updates": 50, "draws": 3, "judged": False},
        "quick": {"widths": (4, 16, 64), "updates": 4000, "draws": 30, "judged": True},
        "full": {"widths": (4, 8, 16, 32, 64), "updates": 40_000, "draws": 300, "judged": True},
    },
)  # fmt: skip
