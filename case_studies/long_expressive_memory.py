"""Long expressive memory: do gradients keep their size, and are there many time scales?

In a long expressive memory every unit moves by a time step of its own, dt times a gate (Rusch, Mishra, Erichson, Mahoney, ICLR
2022). The paper bounds its gradients, and reports better predictions of dynamical systems than those of other networks; the
authors' code forecasts the voltage of a FitzHugh-Nagumo system, with dt = 1. Here both are measured apart: products of
Jacobians over whole runs, for untrained networks of several dt and for networks trained on those forecasts, beside an LSTM, a
GRU and a tanh network of as many units; and the time steps, beside the share that an LSTM and a GRU replace of their states.

What is found: small dt keeps gradients: over 1000 steps of dt = 0.001 a product keeps e^-0.15. At the dt = 1 of the forecasts
nothing keeps them of itself: the untrained network loses e^-302, and the bound, e^3000 in the trained one, says nothing there.
Training brings it to e^-25 by slow units; but a GRU comes as near to 0 (e^-22), with more decades between its units, where an
LSTM stays at e^-228. The forecasts are the best of the four, and depend on time steps that change with the input.

As controls, the trained network with each time step held at its mean over the test, and with these means exchanged among its
units. The bound that the products are held against is this toolkit's own (``LongExpressiveMemory.growth_bound``). The authors
train for 1600 updates, the shipped networks had half as many ("full" trains 1600).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.maps.windowed_products import WindowedProducts, windowed_products
from analyses.result import Result
from analyses.series.paired import paired_difference
from analyses.trajectories.bounds import TrajectoryBounds, trajectory_bounds
from case_studies._study import CaseStudy, number_of
from case_studies._train import shipped_weights, train
from hooks.dynamics import Dynamics, rollout
from hooks.families import LongExpressiveMemory, flow, long_expressive_memory, recurrent
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

UNITS, RUNS, SAMPLES = 16, 128, 1000  # the authors' sizes
NETWORKS = ("LEM", "LSTM", "GRU", "tanh")
RECIPE: Mapping[str, Any] = {"seed": 0, "updates": 800, "learning_rate": 0.00904}
BATCH = 32


class Cell(nn.Module):
    """A long expressive memory in the authors' layout, from their start: every weight uniform in +-1 / sqrt(units)."""

    def __init__(self, inputs: int, units: int, dt: float) -> None:
        super().__init__()
        self.dt = dt
        self.inp2hid, self.hid2hid = nn.Linear(inputs, 4 * units), nn.Linear(units, 3 * units)
        self.transform_z = nn.Linear(units, units)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(units**-0.5), units**-0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """(runs, steps, inputs) -> y, (runs, steps, units), from the zero state."""
        units = self.transform_z.in_features
        z = y = inputs.new_zeros(len(inputs), units)
        told = []
        for entering in self.inp2hid(inputs).unbind(1):
            within = self.hid2hid(y)
            shares = self.dt * torch.sigmoid(entering[:, : 2 * units] + within[:, : 2 * units])
            z = torch.lerp(z, torch.tanh(entering[:, 3 * units :] + within[:, 2 * units :]), shares[:, units:])
            y = torch.lerp(y, torch.tanh(self.transform_z(z) + entering[:, 2 * units : 3 * units]), shares[:, :units])
            told.append(y)
        return torch.stack(told, 1)


class Forecaster(nn.Module):
    """A recurrent layer and a linear readout: the next value of a series from those so far."""

    def __init__(self, kind: str, dt: float = 1.0) -> None:
        super().__init__()
        layers: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "tanh": nn.RNN}
        self.layer = Cell(1, UNITS, dt) if kind == "LEM" else layers[kind](1, UNITS, batch_first=True)
        self.readout = nn.Linear(UNITS, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(runs, steps, 1) -> (runs, steps, 1)."""
        said = self.layer(inputs)
        return self.readout(said if isinstance(said, Tensor) else said[0])


def fitzhugh_nagumo(runs: int, *, generator: torch.Generator, samples: int = SAMPLES) -> Tensor:
    """(runs, samples + 1) v of v' = v - v^3 / 3 - w + 0.5, w' = (v + 0.7 - 0.8 w) / 50, sampled every 0.4 units of time,
    from v uniform in [-1, 1] and w = 0."""

    def velocity(states: Tensor, _: Any) -> Tensor:
        v, w = states.unbind(-1)
        return torch.stack([v - v**3 / 3 - w + 0.5, (v + 0.7 - 0.8 * w) / 50], dim=-1)

    starts = torch.zeros(runs, 2, dtype=torch.float64)
    starts[:, 0] = 2 * torch.rand(runs, generator=generator, dtype=torch.float64) - 1
    states = rollout(flow(velocity, 2, dt=0.4, substeps=8), starts, steps=samples).states
    return torch.from_numpy(states[:, :, 0].copy())


def made(kind: str, dt: float = 1.0, seed: int = 0) -> Forecaster:
    """The untrained network of this kind and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forecaster(kind, dt).eval().requires_grad_(False)


def trained(kind: str, updates: int = RECIPE["updates"]) -> Forecaster:
    """The network of this kind, trained by the recipe (a few minutes)."""
    data = fitzhugh_nagumo(RUNS, generator=torch.Generator().manual_seed(1)).float()[..., None]

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = data[torch.randint(RUNS, (BATCH,), generator=generator)]
        return batch[:, :-1], batch[:, 1:]

    module, _ = train(lambda: Forecaster(kind), draw, **{**RECIPE, "updates": updates})
    assert isinstance(module, Forecaster)
    return module


def shipped(kind: str) -> Forecaster:
    """The network of this kind from the weights beside this file, which ``trained(kind)`` made."""
    module = Forecaster(kind)
    own = shipped_weights("long_expressive_memory")
    module.load_state_dict({name.removeprefix(f"{kind}."): w for name, w in own.items() if name.startswith(f"{kind}.")})
    return module.eval().requires_grad_(False)


def memory(module: Forecaster) -> LongExpressiveMemory:
    """The weights of a long expressive memory with its readout."""
    return long_expressive_memory(module.layer, readout=module.readout)


def held(network: LongExpressiveMemory, shares: np.ndarray) -> LongExpressiveMemory:
    """The network with z's and y's time steps constant, (2 units,) in (0, dt)."""
    logits = torch.logit(torch.from_numpy(shares) / network.dt)
    still: Any = {
        f"{kind}_{part}": torch.zeros_like(getattr(network, f"{kind}_{part}")) for kind in "WV" for part in "12"
    }
    return replace(network, **still, b_1=logits[: network.units], b_2=logits[network.units :])


def replaced_shares(module: Forecaster, orbit: Trajectory) -> np.ndarray:
    """(runs, steps, units) what a step replaces of the state: the time steps, 1 - f of an LSTM, 1 - z of a GRU."""
    assert orbit.drives is not None
    states = torch.from_numpy(orbit.states[:, :-1].copy()).flatten(0, 1)
    drives = torch.from_numpy(orbit.drives.copy()).flatten(0, 1)
    if isinstance(module.layer, Cell):
        shares = memory(module).time_steps(states, drives)
    else:
        rnn: Any = module.layer
        second = slice(UNITS, 2 * UNITS)  # the forget gate of an LSTM, the update gate of a GRU
        before = drives @ rnn.weight_ih_l0[second].mT + rnn.bias_ih_l0[second] + rnn.bias_hh_l0[second]
        shares = torch.sigmoid(-(before + states[:, :UNITS] @ rnn.weight_hh_l0[second].mT))
    return shares.reshape(*orbit.states[:, :-1].shape[:2], -1).numpy()


@dataclass(frozen=True, eq=False)
class Specimen:
    """Trained networks and untrained ones, v of the test, and the runs of it along which Jacobians are multiplied."""

    networks: Mapping[str, Forecaster]
    test: Tensor
    products: int


def prepare(
    *, updates: int, kinds: tuple[str, ...], finer: tuple[float, ...], tests: int, steps: int, products: int
) -> Specimen:
    """Networks trained for so many updates, the shipped ones at 0; untrained twins; and memories of finer steps."""
    networks = {f"{kind}, trained": trained(kind, updates) if updates else shipped(kind) for kind in kinds}
    networks |= {f"{kind}, untrained": made(kind) for kind in kinds}
    networks |= {f"LEM, untrained, dt = {dt:g}": made("LEM", dt) for dt in finer}
    test = fitzhugh_nagumo(tests, generator=torch.Generator().manual_seed(2), samples=steps)
    return Specimen({name: module.double() for name, module in networks.items()}, test, products)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Products of Jacobians and replaced shares of each network; then errors of the trained ones and of the controls."""
    inputs, targets = specimen.test[:, :-1, None], specimen.test[:, 1:].numpy()
    steps = inputs.shape[1]
    sentences, errors, states, stretched = [], {}, [], []
    for name, module in specimen.networks.items():
        dynamics = _map(module)
        orbit = _run(dynamics, inputs[: specimen.products])
        products = journal.note(
            f"{name}: products", windowed_products, dynamics, orbit, windows=(1, steps // 10, steps), directions=1
        )
        text = f"{name}: over {steps} steps the largest singular value is e to the {_whole(products):.3g} in the mean"
        if isinstance(module.layer, Cell):
            bound = math.log(memory(module).growth_bound())
            # a product's largest singular value is at most sqrt(dim) times its row-sum norm
            rates = (products.log_singular_values[:, 0] - math.log(dynamics.dim) / 2) / products.lengths
            states.append(orbit.states)
            stretched.append(rates / bound)
            text += f", and at most e to the {bound * steps:.3g} by the bound"
        if "dt =" not in name and not name.startswith("tanh"):
            text += _shares(journal, name, replaced_shares(module, orbit))
        if name.endswith(", trained"):
            errors[name] = _errors(dynamics, inputs, targets)
        sentences.append(f"{text}.")
    inside = journal.note("states", trajectory_bounds, Trajectory(np.concatenate(states)), -1.0, 1.0)
    above = journal.note(
        "rates over the bound", trajectory_bounds, Trajectory(np.concatenate(stretched)[None, :, None]), -np.inf, 1.0
    )
    sentences.insert(0, f"Coordinates of long expressive memories in [-1, 1]: {inside.summary()}.")
    sentences.insert(1, f"Rates of stretching of products over the bound, which is 1: {above.summary()}.")
    own = memory(specimen.networks["LEM, trained"])
    mean = replaced_shares(specimen.networks["LEM, trained"], _run(own.dynamics(), inputs)).mean(axis=(0, 1))
    generator = np.random.default_rng(0)
    exchanged = np.concatenate([generator.permutation(mean[:UNITS]), generator.permutation(mean[UNITS:])])
    errors["LEM, time steps held"] = _errors(held(own, mean).dynamics(), inputs, targets)
    errors["LEM, time steps held and exchanged"] = _errors(held(own, exchanged).dynamics(), inputs, targets)
    for first, second in PAIRS:
        if second in errors:
            found = journal.note(f"errors: {first}; {second}", paired_difference, errors[first], errors[second],
                                 names=(first, second), unit="test run")  # fmt: skip
            sentences.append(f"Root mean square errors: {found.summary()}.")
    sentences.append(
        "Not shown: gradients in weights; products of Jacobians in the state are what such a gradient "
        "is a sum of. One training of each network is no sample of trainings."
    )
    return tuple(sentences)


def _map(module: Forecaster) -> Dynamics:
    if isinstance(module.layer, Cell):
        return memory(module).dynamics()
    return recurrent(module.layer, readout=module.readout)


def _run(dynamics: Dynamics, inputs: Tensor) -> Trajectory:
    return rollout(dynamics, np.zeros((len(inputs), dynamics.dim)), drives=inputs)


def _errors(dynamics: Dynamics, inputs: Tensor, targets: np.ndarray) -> np.ndarray:
    """(runs,) root mean square error of the forecasts."""
    assert dynamics.readout is not None
    said = dynamics.readout(torch.from_numpy(_run(dynamics, inputs).states[:, 1:].copy()))[..., 0].numpy()
    return np.sqrt(((said - targets) ** 2).mean(axis=1))


def _shares(journal: Journal, name: str, shares: np.ndarray) -> str:
    logs = np.log10(np.maximum(shares, np.finfo(np.float64).tiny))
    found = journal.note(f"{name}: decades of replaced shares", trajectory_bounds, Trajectory(logs), -np.inf, 0.0)
    medians = 10 ** found.quantiles[2]
    return (
        f"; a step replaces {medians.min():.3g} to {medians.max():.3g} of a coordinate in the median over time, "
        f"{_decades(found):.2g} decades from the slowest to the fastest"
    )


def _decades(found: TrajectoryBounds) -> float:
    """Between the units' median shares, the slowest and the fastest."""
    return float(np.ptp(found.quantiles[2]))


def _whole(products: WindowedProducts) -> float:
    """Mean ln of the largest singular value over whole runs."""
    return float(products.means[-1, 0] * products.windows[-1] * products.dt)


def _of_whole_runs(measure: Callable[[Mapping[str, Result]], float]) -> Callable[[Mapping[str, Result]], float]:
    """The same where runs have all their steps; a KeyError at the scale that cuts them."""

    def measured(results: Mapping[str, Result]) -> float:
        products: Any = results["LEM, trained: products"]
        if products.windows[-1] < SAMPLES:
            raise KeyError("whole runs")
        return float(measure(results))

    return measured


def _log_stretch(name: str) -> Callable[[Mapping[str, Result]], float]:
    return _of_whole_runs(number_of(f"{name}: products", _whole))


def _above(first: str, second: str) -> Callable[[Mapping[str, Result]], float]:
    """Whether the units of the first network differ in their shares by more decades."""
    spread = [number_of(f"{name}: decades of replaced shares", _decades) for name in (first, second)]
    return _of_whole_runs(lambda results: spread[0](results) > spread[1](results))


def _errors_of(pair: tuple[str, str], read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    return _of_whole_runs(number_of(f"errors: {pair[0]}; {pair[1]}", read))


def _of_the_equation(results: Mapping[str, Result]) -> float:
    """ln stretch of one stretch of time from the start: steps of 0.01 over steps of 0.1."""
    fine: Any = results["LEM, untrained, dt = 0.01: products"]
    coarse: Any = results["LEM, untrained, dt = 0.1: products"]
    first = (coarse.lengths == coarse.windows[1]) & (coarse.firsts == 0)
    return _whole(fine) / float(coarse.log_singular_values[first, 0].mean())


def _nearest(results: Mapping[str, Result]) -> float:
    found = {kind: abs(_log_stretch(f"{kind}, trained")(results)) for kind in NETWORKS}
    return float(min(found, key=found.__getitem__) == "LEM")


FINER = (0.1, 0.01, 0.001)
PAIRS = (
    *(("LEM, trained", f"{kind}, trained") for kind in NETWORKS[1:]),
    ("LEM, trained", "LEM, time steps held"),
    ("LEM, time steps held", "LEM, time steps held and exchanged"),
)
BOUNDED = "bounds against gradients that explode or vanish (abstract), our reading"
SCALES = "an equation of many time scales (abstract), our reading"
BETTER = "outperforms other recurrent networks in prediction of dynamical systems (abstract)"
ANSWER = "yes or no"

study = CaseStudy(
    title="Long expressive memory: do gradients keep their size, and are there many time scales?",
    citation="Rusch, Mishra, Erichson, Mahoney, Long Expressive Memory for Sequence Modeling, ICLR 2022, arXiv 2110.04744",
    question="Do products of Jacobians neither vanish nor explode, and do trained units differ in their time steps?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("LEM: coordinates beyond [-1, 1]", 0, "convex combinations", 0, "a theorem",
              number_of("states", lambda found: found.violations)),
        Claim("LEM: products beyond the bound", 0, "our derivation", 0, "a theorem",
              number_of("rates over the bound", lambda found: found.violations)),
        Claim("LEM, untrained, dt = 0.001: ln stretch over 1000 steps", 0, BOUNDED, 1,
              "one unit of time of an equation whose gates are below 1", _log_stretch("LEM, untrained, dt = 0.001")),
        Claim("LEM, untrained: ln stretch over a tenth of the steps at dt = 0.1 and all of them at 0.01, ratio", 1,
              "Euler steps of one equation, our derivation", 0.25,
              "Euler's error is some dt / 2; the inputs are seen at other times", _of_the_equation),
        Claim("LEM, untrained, dt = 1: gradients vanish, ln stretch over 1000 steps below -20", 1,
              "a gate near 1/2 forgets half a step, our derivation", 0, ANSWER,
              lambda results: float(_log_stretch("LEM, untrained")(results) < -20)),
        Claim("trained networks: the LEM's ln stretch over 1000 steps nearest to 0", 1, BOUNDED, 0, ANSWER, _nearest),
        Claim("LEM: decades between the units' time steps grow in training", 1, SCALES, 0, ANSWER,
              _above("LEM, trained", "LEM, untrained")),
        *(Claim(f"trained: decades between the units' shares, LEM above {kind}", 1, SCALES, 0, ANSWER,
                _above("LEM, trained", f"{kind}, trained")) for kind in ("LSTM", "GRU")),
        Claim("LEM, trained: root mean square error of the test", 0.0024, "log of the authors' run, final loss 0.00238", 0.0024,
              "a training of 1600 updates may end at up to twice it",
              _errors_of(PAIRS[0], lambda found: np.sqrt((found.first**2).mean()))),
        *(Claim(f"errors: {pair[1]} larger than {pair[0]}", 1, where, 0, "sign test over test runs, 5 %",
                _errors_of(pair, lambda found: found.larger))
          for pair, where in zip(
              PAIRS, (*[BETTER] * 3, "time steps depend on what is seen", "time steps belong to their units"), strict=True)),
    ),
    scales={
        "tiny": {"updates": 0, "kinds": ("LEM", "LSTM"), "finer": (), "tests": 8, "steps": 100, "products": 2},
        "quick": {"updates": 0, "kinds": NETWORKS, "finer": FINER, "tests": 128, "steps": SAMPLES, "products": 8},
        "full": {"updates": 1600, "kinds": NETWORKS, "finer": FINER, "tests": 1024, "steps": SAMPLES, "products": 32},
    },
)  # fmt: skip
