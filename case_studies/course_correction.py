"""Course correction: does a Koopman autoencoder forecast longer when it goes back to the state now and then?

A linear model in the lifted space of an autoencoder is exact only on the image of the lift, which a finite K leaves as it
advances. Going back to the state every so many steps keeps it there (Fathi et al., ICLR 2024). Here the undamped Duffing
oscillator x'' = x - x^3, 64 latent units, an encoder of four ReLU layers, a linear decoder. The loss is that of the paper,
reconstruction and alignment, with the prediction loss kept, which the paper leaves out; so is its bilinear form of K.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from case_studies._train import train
from hooks.dynamics import Dynamics, rollout
from hooks.families import flow
from hooks.trajectory import Trajectory

DT, WINDOW = 0.02, 10
LATENT, HIDDEN = 64, 64
LOW, HIGH = (-1.5, -1.0), (1.5, 1.0)
UPDATES, BATCH, RUNS = 4000, 256, 100
SPARSE = 1e-3  # weight of the codes' L1 norm, the paper's
PERIODS = (1, 5, 10, 25, 50, 100)


class KoopmanAutoencoder(nn.Module):
    """x -> lift -> K -> back; forward gives every error of a window of states, to be driven to zero."""

    def __init__(self) -> None:
        super().__init__()
        widths = (2, HIDDEN, HIDDEN, HIDDEN, LATENT)
        layers = [nn.Linear(one, other) for one, other in itertools.pairwise(widths)]
        self.lift = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]
        self.back = nn.Linear(LATENT, 2)
        self.matrix = nn.Parameter(torch.eye(LATENT))

    def forward(self, windows: Tensor) -> Tensor:
        """(batch, steps, 2) -> (batch, errors): reconstruction, prediction, alignment, and the codes' size."""
        codes = self.lift(windows)
        ahead = [codes[:, 0]]
        for _ in range(windows.shape[1] - 1):
            ahead.append(ahead[-1] @ self.matrix.T)
        advanced = torch.stack(ahead, dim=1)
        size = (SPARSE * codes.abs() + 1e-12).sqrt()
        parts = (self.back(codes) - windows, self.back(advanced) - windows, advanced - codes, size)
        errors = sum(part[0].numel() for part in parts)  # their mean square is the sum of the parts' mean squares
        return torch.cat([part.flatten(1) * (errors / part[0].numel()) ** 0.5 for part in parts], dim=1)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Trained networks by seed, and the truth that they forecast."""

    networks: Mapping[int, KoopmanAutoencoder]
    truth: Trajectory


def duffing() -> Dynamics:
    """x'' = x - x^3, of energy v^2 / 2 - x^2 / 2 + x^4 / 4."""
    return flow(lambda s, _: torch.stack([s[:, 1], s[:, 0] - s[:, 0] ** 3], 1), 2, dt=DT, substeps=2, name="Duffing")


def recorded(runs: int, steps: int, seed: int) -> Trajectory:
    """Orbits from starts drawn evenly in the box LOW to HIGH."""
    return rollout(duffing(), np.random.default_rng(seed).uniform(LOW, HIGH, (runs, 2)), steps=steps)


def trained(seed: int) -> KoopmanAutoencoder:
    """The network of this seed: 4000 updates on windows of ten steps out of a hundred orbits of 200 (a minute or two)."""
    states = torch.tensor(recorded(RUNS, 200, 0).states, dtype=torch.float32)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        run = torch.randint(len(states), (BATCH, 1), generator=generator)
        first = torch.randint(states.shape[1] - WINDOW, (BATCH, 1), generator=generator)
        windows = states[run, first + torch.arange(WINDOW + 1)]
        return windows, torch.zeros(BATCH, (WINDOW + 1) * (4 + 2 * LATENT))

    module, _ = train(KoopmanAutoencoder, draw, seed=seed, updates=UPDATES, learning_rate=1e-3)
    assert isinstance(module, KoopmanAutoencoder)
    return module
