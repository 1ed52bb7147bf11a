"""A shallow piecewise-linear network fitted to forecast Lorenz63 one sample ahead, and read as a map of its own forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from case_studies._systems import SYSTEMS
from case_studies._train import ridge_regression
from hooks.dynamics import Dynamics, digest, rollout
from hooks.families import ShallowPiecewiseLinear
from hooks.trajectory import Trajectory

DT = 0.04  # time between samples
UNITS, RIDGE = 256, 1e-8
STEPS = 200  # of a run of data, the sequence length of the paper's


@dataclass(frozen=True, eq=False)
class Fit:
    """The fitted network, the runs it was fitted to and as many held out, in the data's standard deviations."""

    network: ShallowPiecewiseLinear
    data: Trajectory
    held_out: Trajectory

    def dynamics(self) -> Dynamics:
        """The network as an autonomous map of three coordinates with its exact Jacobian."""
        A, W1, W2, h1, h2 = (getattr(self.network, name) for name in ("A", "W1", "W2", "h1", "h2"))

        def step(states: Tensor, _: object) -> Tensor:
            return A * states + linear(torch.relu(linear(states, W2, h2)), W1, h1)

        def jacobian(states: Tensor, _: object) -> Tensor:
            gates = (linear(states, W2, h2) > 0).to(A)
            return torch.diag(A) + (W1 * gates[:, None, :]) @ W2

        return Dynamics(
            step,
            dim=len(A),
            name="shallow PLRNN",
            dt=DT,
            jacobian=jacobian,
            push=lambda states, tangents, _: (step(states, None), jacobian(states, None) @ tangents),
            fingerprint=digest(A, W1, W2, h1, h2),
        )


def fitted_to_lorenz(*, runs: int = 20, seed: int = 0) -> Fit:
    """A shallow PLRNN fitted to Lorenz63's next sample on this many runs, in half a second.

    The hidden planes W2, h2 are drawn, each through a data point in a random direction, and stay; A, W1 and h1 are fitted by
    ridge regression, row by row.
    """
    generator = np.random.default_rng(seed)
    system = SYSTEMS["Lorenz63"].make(dt=DT)
    starts = np.array([1.0, 2.0, 20.0]) + generator.standard_normal((2 * runs, 3))
    raw = rollout(system, starts, steps=STEPS, burn_in=1000).states
    scaled = (raw - raw[:runs].mean(axis=(0, 1))) / raw[:runs].std(axis=(0, 1))
    data, held_out = (Trajectory(part, source="Lorenz63, standardised") for part in (scaled[:runs], scaled[runs:]))

    now, after = data.pairs()
    W2 = generator.standard_normal((UNITS, 3))
    W2 /= np.linalg.norm(W2, axis=1, keepdims=True)
    h2 = -(W2 * now[generator.integers(len(now), size=UNITS)]).sum(axis=1)
    hidden = np.maximum(now @ W2.T + h2, 0.0)
    rows = [ridge_regression(np.column_stack([now[:, unit], hidden]), after[:, unit], RIDGE) for unit in range(3)]
    weights, planes, offsets = (torch.from_numpy(array) for array in (np.stack(rows), W2, h2))
    network = ShallowPiecewiseLinear(weights[:, 0], weights[:, 1:-1], planes, weights[:, -1], offsets)
    return Fit(network, data, held_out)
