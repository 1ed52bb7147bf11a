"""Forecasters of Lorenz63 and their closed loops: ridge regression on delays, an echo-state network, an MLP and a GRU.

Coordinates are centred and divided by their deviations, about. A closed loop is an autonomous ``Dynamics`` whose readout is
what the forecaster says; its clock is Lorenz's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from case_studies._train import Reader, ridge_regression, shipped_weights, train
from hooks.dynamics import Dynamics, rollout
from hooks.families import LeakyRate, closed_loop
from hooks.families import recurrent as recurrent_map

DT = 0.02
WARM = 200  # true steps that a forecaster sees before it runs alone
# of the true orbit, about: the units of everything here
MEAN, DEVIATION = np.array([0.0, 0.0, 23.5]), np.array([7.9, 9.0, 8.6])
UNITS, HIDDEN = 32, 64  # of the GRU and of the MLP
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "MLP": {"seed": 0, "updates": 6000, "learning_rate": 3e-3},
    "GRU": {"seed": 0, "updates": 1500, "learning_rate": 1e-2},
}


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A closed loop and how to begin it.

    ``begin`` takes true states (runs, seen, 3) to the loop's states whose readout is the forecast of the step after them;
    ``driven`` is the forecaster before its loop is closed, if it has a memory.
    """

    loop: Dynamics
    begin: Callable[[np.ndarray], np.ndarray]
    driven: Dynamics | None = None


class ResidualMLP(nn.Module):
    """x -> x + W_2 tanh(W_1 x + b_1) + b_2."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(3, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, states: Tensor) -> Tensor:
        """(..., 3) -> (..., 3)."""
        return states + self.out(torch.tanh(self.hidden(states)))


def scaled(states: np.ndarray) -> np.ndarray:
    """Lorenz's coordinates in the units of the forecasters."""
    return (states - MEAN) / DEVIATION


def stepped_on(loop: Dynamics, states: np.ndarray) -> np.ndarray:
    """One step on: of a forecaster without memory, whose state is the last true one."""
    return rollout(loop, states, steps=1).states[:, -1]


def delayed(training: np.ndarray, *, delays: int, quadratic: bool, ridge: float) -> Forecaster:
    """Increments from ``delays`` states, newest first (the loop's state), and with ``quadratic`` from their products."""
    rows, columns = np.triu_indices(3 * delays)
    eye = torch.eye(3 * delays, dtype=torch.float64)
    one, other = eye[rows], eye[columns]  # each product is (one x)_k (other x)_k

    def features(window: Any) -> Any:
        if not quadratic:
            return window
        return torch.cat([window, linear(window, one) * linear(window, other)], 1)

    windows = np.concatenate([training[delays - 1 - lag : len(training) - 1 - lag] for lag in range(delays)], axis=1)
    increments = training[delays:] - training[delays - 1 : -1]
    weights = torch.from_numpy(ridge_regression(features(torch.from_numpy(windows)).numpy(), increments, ridge))
    W, b = weights[:-1].T, weights[-1]

    def step(states: Any, _: Any) -> Any:
        return torch.cat([states[:, :3] + linear(features(states), W, b), states[:, :-3]], 1)

    def slope(states: Tensor, _: Any) -> Tensor:
        products = (states @ other.T)[..., None] * one + (states @ one.T)[..., None] * other
        same = eye.expand(len(states), *eye.shape)
        by_state = torch.cat([same, products], 1) if quadratic else same
        return torch.cat([eye[:3] + W @ by_state, same[:, :-3]], 1)

    kind = "quadratic" if quadratic else "linear"
    loop = _undriven(step, slope, 3 * delays, f"{kind} forecaster, {delays} delays")
    return Forecaster(
        loop, lambda seen: stepped_on(loop, np.concatenate([seen[:, -1 - lag] for lag in range(delays)], axis=1))
    )


def _undriven(step: Any, slope: Callable[[Tensor, Any], Tensor], dim: int, name: str) -> Dynamics:
    """A loop that says its first three coordinates."""

    def push(states: Tensor, tangents: Tensor, _: Any) -> tuple[Tensor, Tensor]:
        return step(states, None), slope(states, None) @ tangents

    return Dynamics(step, dim=dim, name=name, dt=DT, jacobian=slope, push=push, readout=lambda states: states[:, :3])


def reservoir(training: np.ndarray, *, units: int, ridge: float = 1e-8) -> Forecaster:
    """An echo-state network of radius 0.9 and leak 0.7, a tenth of its weights not 0; the loop is again a rate network, with
    weights W + W_in W_out, so that it keeps its trapping box."""
    random = np.random.default_rng(0)
    W = random.standard_normal((units, units)) * (random.random((units, units)) < 0.1)
    W *= 0.9 / np.abs(np.linalg.eigvals(W)).max()
    W_in, b = 0.2 * random.uniform(-1, 1, (units, 3)), 0.3 * random.uniform(-1, 1, units)
    leak = torch.tensor(0.7, dtype=torch.float64)
    driven = LeakyRate(torch.from_numpy(W), torch.from_numpy(W_in), torch.from_numpy(b), leak).dynamics()

    def begin(seen: np.ndarray) -> np.ndarray:
        return rollout(driven, np.zeros((len(seen), units)), drives=seen).states[:, -1]

    rates = rollout(driven, np.zeros((1, units)), drives=training[:-1]).states[0, WARM:]
    weights = ridge_regression(rates, training[WARM:], ridge)
    W_out, b_out = weights[:-1].T, weights[-1]
    fed_back, offset = torch.from_numpy(W + W_in @ W_out), torch.from_numpy(b + W_in @ b_out)
    none = torch.zeros(units, 0, dtype=torch.float64)
    closed = LeakyRate(
        fed_back, none, offset, leak, W_out=torch.from_numpy(W_out.copy()), b_out=torch.from_numpy(b_out)
    ).dynamics()
    return Forecaster(replace(closed, dt=DT), begin, replace(driven, dt=DT))


def trained(kind: str, seed: int, training: np.ndarray) -> nn.Module:
    """An MLP or a GRU trained on the error of one step (some 10 s each)."""
    states = torch.from_numpy(training).float()
    recipe = {**RECIPES[kind], "seed": seed}
    length = 1 if kind == "MLP" else 40

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        begin = torch.randint(len(states) - length, (512 if length == 1 else 64,), generator=generator)
        window = begin[:, None] + torch.arange(length + 1)
        return states[window[:, :-1]], states[window[:, 1:]]

    module, _ = train(
        ResidualMLP if kind == "MLP" else lambda: Reader(nn.GRU(3, UNITS, batch_first=True), 3), draw, **recipe
    )
    return module


def looped(module: nn.Module) -> Forecaster:
    """A trained module in closed loop, in float64."""
    if isinstance(module, Reader):
        driven = recurrent_map(module.rnn, readout=module.readout)
        loop = replace(closed_loop(driven), dt=DT)
        return Forecaster(
            loop,
            lambda seen: rollout(driven, np.zeros((len(seen), UNITS)), drives=seen).states[:, -1],
            replace(driven, dt=DT),
        )
    W_1, b_1, W_2, b_2 = (weight.detach().double() for weight in module.parameters())

    def step(states: Any, _: Any) -> Any:
        return states + linear(torch.tanh(linear(states, W_1, b_1)), W_2, b_2)

    def slope(states: Tensor, _: Any) -> Tensor:
        hidden = torch.tanh(linear(states, W_1, b_1))
        return torch.eye(3, dtype=torch.float64) + W_2 @ ((1 - hidden**2)[..., None] * W_1)

    loop = _undriven(step, slope, 3, f"residual MLP, {HIDDEN} hidden units")
    return Forecaster(loop, lambda seen: stepped_on(loop, seen[:, -1]))


def shipped(kind: str) -> nn.Module:
    """The module of this kind from the weights beside this file, which ``trained`` made of 20 000 steps with its own seed."""
    module = ResidualMLP() if kind == "MLP" else Reader(nn.GRU(3, UNITS, batch_first=True), 3)
    module.load_state_dict(shipped_weights(f"lorenz_{kind.lower()}"))
    return module.eval().requires_grad_(False)
