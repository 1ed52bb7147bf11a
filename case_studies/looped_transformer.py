"""A looped transformer: does running one block again and again settle on the answer, and is it training that makes it settle?

A block with causal attention is run on its own output, the embedding of the input mixed in each time, and trained to say the
parity of every prefix of ten bits after ten to twenty iterations. Models of recurrent depth are reported to converge to a
fixed point for most tokens, some to orbits (Geiping et al., arXiv 2502.05171, section 6); looped networks that keep their
answer under more iterations than trained are those whose end does not depend on where they start (Anil et al., NeurIPS 2022,
path independence). Here the map of each input is searched for fixed points, its exponents carry error bars, and networks of the
same shape with random weights say what of this the architecture does by itself.

What is found: untrained networks settle as often as trained ones, so settling is the architecture's. Of one trained network an
input has a second stable point, which random states reach and where parities are wrong. The control with larger weights was
chosen on one input; on others it rests, cycles or stays undecided, so that what was claimed of it does not hold.

Weights of three trainings are shipped; ``full`` trains two more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, scaled_dot_product_attention

from analyses.maps.fixed_points import DampedNewton, FixedPoints, find_fixed_points
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from case_studies._study import CaseStudy
from case_studies._train import shipped_weights, train
from hooks.dynamics import Dynamics
from hooks.families.loop import recurrent_depth
from interp.claims import Claim
from interp.journal import Journal

LENGTH, WIDTH, HEADS = 10, 32, 2
TRAINED_FOR = 20  # iterations; the loss is taken from iteration LENGTH on
SHIPPED = (0, 1, 2)  # seeds
TWINS = 100  # first seed of the random-weight networks
CONTROL, GAIN = 102, 3.0  # seed and factor on its weights: chaotic on one input, among some ten such networks tried
ITERATIONS = (5, 10, 20, 40, 200)
NEAR = DampedNewton(steps=3)  # from 1e-4 of a root; a search from afar would find those the iteration does not lead to


class Core(nn.Module):
    """The stream and the embedding, each (runs, steps, width) -> the next stream. Normalised last, so states stay bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.attention = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, stream: Tensor, injected: Tensor) -> Tensor:
        x = self.mix(torch.cat([stream, injected], dim=-1))
        q, k, v = self.attention(x).unflatten(-1, (3 * HEADS, -1)).transpose(-2, -3).chunk(3, dim=-3)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = self.norms[0](x + self.out(mixed.transpose(-2, -3).flatten(-2)))
        return self.norms[1](x + self.mlp(x))


class Looped(nn.Module):
    """Bits (runs, LENGTH) -> scores of odd parity of every prefix, (runs, iterations from LENGTH on, LENGTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = nn.Embedding(2, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.core = Core()
        self.readout = nn.Linear(WIDTH, 1)

    def embedded(self, bits: Tensor) -> Tensor:
        """(runs, LENGTH, WIDTH), what is injected."""
        return self.bits(bits) + self.places.weight

    def forward(self, bits: Tensor) -> Tensor:
        injected = self.embedded(bits)
        stream, said = torch.zeros_like(injected), []
        for iteration in range(1, TRAINED_FOR + 1):
            stream = self.core(stream, injected)
            if iteration >= LENGTH:
                said.append(self.readout(stream)[..., 0])
        return torch.stack(said, dim=1)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Networks by name, the inputs (runs, LENGTH) that are searched, and for how many exponents are taken, from what runs."""

    networks: Mapping[str, Looped]
    bits: Tensor
    exponents: int
    starts: int
    steps: int


def trained(seed: int) -> Looped:
    """The network trained from this seed, until the loss is below 0.002 nats: some 500 updates, a minute on one core."""

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        bits = torch.randint(2, (64, LENGTH), generator=generator)
        return bits, parities(bits).float()

    def loss(said: Tensor, parity: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(said, parity[:, None].expand_as(said))

    module, _ = train(Looped, draw, seed=seed, updates=2500, learning_rate=2e-3, loss=loss, goal=2e-3)
    assert isinstance(module, Looped)
    return module


def shipped(seed: int) -> Looped:
    """The network of this seed from the weights beside this file, which ``trained(seed)`` made."""
    module = untrained(seed)
    prefix = f"{seed}."
    weights = shipped_weights("looped_transformer").items()
    module.load_state_dict({name.removeprefix(prefix): part for name, part in weights if name.startswith(prefix)})
    return module


def untrained(seed: int, gain: float = 1.0) -> Looped:
    """Weights as drawn; those of the core, its norms left out, times ``gain``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Looped().eval().requires_grad_(False)
    for part in (module.core.mix, module.core.attention, module.core.out, *module.core.mlp):
        if isinstance(part, nn.Linear):
            part.weight.mul_(gain)
    return module


def parities(bits: Tensor) -> Tensor:
    """Of every prefix, 0 or 1."""
    return bits.cumsum(1) % 2


def as_map(module: Looped) -> Dynamics:
    """Of the whole stream, driven by the embedding of its input."""
    return recurrent_depth(module.core, steps=LENGTH, width=WIDTH, readout=module.readout)


def prepare(*, trainings: int, twins: int, inputs: int, exponents: int, starts: int, steps: int) -> Specimen:
    """Shipped networks and ``trainings`` new ones, untrained twins, and as a control one untrained network of large weights."""
    networks = {f"trained {seed}": shipped(seed) for seed in SHIPPED}
    networks |= {f"trained {seed}": trained(seed) for seed in range(len(SHIPPED), len(SHIPPED) + trainings)}
    networks |= {f"untrained {seed}": untrained(TWINS + seed) for seed in range(twins)}
    networks["control"] = untrained(CONTROL, GAIN)
    generator = torch.Generator().manual_seed(7)
    every = torch.randperm(2**LENGTH, generator=generator)[:inputs]
    return Specimen(networks, every[:, None] >> torch.arange(LENGTH) & 1, exponents, starts, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Of every network: answers by iteration, fixed points from where 200 iterations led, exponents from random starts."""
    sentences = []
    for name, module in specimen.networks.items():
        dynamics = as_map(module)
        injected = module.embedded(specimen.bits).flatten(1).double()
        states, right = _run(dynamics, injected, parities(specimen.bits))
        found = journal.note(f"{name}: fixed points", find_fixed_points, dynamics, states, drives=injected, method=NEAR)
        spectra = []
        generator = torch.Generator().manual_seed(1)
        for number in range(specimen.exponents):
            starts = 3 * torch.randn(specimen.starts, dynamics.dim, generator=generator, dtype=torch.float64)
            spectra.append(
                journal.note(
                    f"{name}: exponents of input {number}",
                    lyapunov_spectrum,
                    dynamics.hold(injected[number]),
                    starts,
                    steps=specimen.steps,
                    burn_in=specimen.steps // 2,
                    directions=1,
                )
            )
        shares = ", ".join(f"{share:.3f} after {count}" for count, share in zip(ITERATIONS, right, strict=True))
        sentences.append(
            f"{name}. Parities right: {shares} iterations (trained for {TRAINED_FOR}). {found.summary()}."
            + "".join(f" Input {number}: {one.summary()}." for number, one in enumerate(spectra[:2]))
        )
    return tuple(sentences)


def _run(dynamics: Dynamics, injected: Tensor, parity: Tensor) -> tuple[Tensor, list[float]]:
    """States after the last of ``ITERATIONS``, and the share of right parities at each."""
    states, right = torch.zeros_like(injected), []
    for iteration in range(1, ITERATIONS[-1] + 1):
        states = dynamics(states, injected)
        if iteration in ITERATIONS:
            right.append(accuracy(dynamics, states, parity))
    return states, right


def accuracy(dynamics: Dynamics, states: Tensor, parity: Tensor) -> float:
    """Share of prefixes whose parity is read right."""
    assert dynamics.readout is not None
    return float(((dynamics.readout(states) > 0) == parity.bool()).double().mean())


def _over(kind: str, what: str, read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """The mean of a number over the networks of a kind, and over their inputs; a KeyError where there are none."""

    def measure(results: Mapping[str, Result]) -> float:
        found = [read(result) for title, result in results.items() if title.startswith(kind) and what in title]
        if not found:
            raise KeyError(kind)
        return float(np.mean(found))

    return measure


def _settled(found: FixedPoints) -> float:
    """Share of inputs whose iteration led to a stable fixed point."""
    return float(np.isin(found.landed, np.flatnonzero(found.stable)).mean())


def _right(results: Mapping[str, Result]) -> float:
    """Share of parities that the stable fixed points of the shipped networks say right, an input without one counting wrong."""
    shares = []
    for seed in SHIPPED:
        found: Any = results[f"trained {seed}: fixed points"]
        module = shipped(seed)
        codes = torch.stack([module.embedded(torch.full((1, LENGTH), bit)).flatten() for bit in (0, 1)]).double()
        drives = torch.as_tensor(found.drives).unflatten(1, (LENGTH, WIDTH))
        bits = ((drives - codes[1].unflatten(0, (LENGTH, WIDTH))).abs().amax(2) < 1e-9).long()
        right = accuracy(as_map(module), torch.as_tensor(found.points), parities(bits))
        shares.append(right * _settled(found))
    return float(np.mean(shares))


def _one_end(found: LyapunovSpectrum) -> float:
    return float(len(found.sizes) == 1 and found.verdicts[0] == "stable fixed point")


def _gap(results: Mapping[str, Result]) -> float:
    """Largest difference of a leading exponent and ln of the largest eigenvalue's modulus at the fixed point of that input."""
    gaps = []
    for title, result in results.items():
        if isinstance(result, LyapunovSpectrum) and title.startswith("trained"):
            name, number = title.split(": exponents of input ")
            found: Any = results[f"{name}: fixed points"]
            gaps.append(abs(result.exponents[0, 0] - np.log(np.abs(found.eigenvalues[found.landed[int(number)], 0]))))
    if not gaps:
        raise KeyError("exponents")
    return float(max(gaps))


GEIPING = "arXiv 2502.05171, section 6: most tokens converge, some orbit or drift; our reading, other model and task"
ALL = "every one: a share of 1, nothing less"

study = CaseStudy(
    title="A looped transformer: does it settle on the answer, and who made it settle?",
    citation="Geiping et al., Scaling up test-time compute with latent reasoning: a recurrent depth approach, arXiv "
    "2502.05171, 2025; Anil et al., Path independent equilibrium models can better exploit test-time computation, NeurIPS 2022",
    question="Does a depth-recurrent transformer reach a fixed point for every input, is it the answer, and is that learned?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("trained: inputs that end on a stable fixed point, share", 1, GEIPING, 0.02, "a few inputs may orbit",
              _over("trained", ": fixed points", _settled)),
        Claim("trained: parities that the fixed points say right, share", 1, "the task; more iterations than trained do no "
              "harm where the end is path independent (Anil et al.)", 0.005, "the loss at the end of training, 0.002", _right),
        Claim("trained: inputs with one end from random states, share", 1, "path independence, Anil et al.", 0.05,
              "one input in twenty", _over("trained", ": exponents", _one_end)),
        Claim("trained: leading exponent less ln |leading eigenvalue| at the fixed point, largest", 0, "identity", 0.01,
              "the transient left after the burn-in, over the run", _gap),
        Claim("null: untrained twins: inputs that end on a stable fixed point, share", 1,
              "one twin seen before this study: all of 64 inputs", 0, ALL, _over("untrained", ": fixed points", _settled)),
        Claim("null: untrained twins: inputs with one end from random states, share", 1, "one twin seen before this study",
              0.05, "one input in twenty", _over("untrained", ": exponents", _one_end)),
        Claim("control: inputs that end on a stable fixed point, share", 0, "weights tripled, seen before this study to be "
              "chaotic for one input", 0.5, "less than half of them", _over("control", ": fixed points", _settled)),
        Claim("control: inputs whose map is chaotic at three standard errors, share", 1, "the same", 0.5, "most of them",
              _over("control", ": exponents", lambda found: float(found.verdicts[0] == "chaotic"))),
    ),
    scales={
        "tiny": {"trainings": 0, "twins": 1, "inputs": 4, "exponents": 0, "starts": 4, "steps": 100},
        "quick": {"trainings": 0, "twins": 3, "inputs": 64, "exponents": 2, "starts": 8, "steps": 200},
        "full": {"trainings": 2, "twins": 19, "inputs": 1024, "exponents": 8, "starts": 16, "steps": 400},
    },
)  # fmt: skip
