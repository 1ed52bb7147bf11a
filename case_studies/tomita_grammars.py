"""draft"""

from __future__ import annotations
from collections.abc import Iterator
from dataclasses import dataclass
import numpy as np
import torch
from torch import Tensor, nn
from case_studies._grammars import TOMITA, near_words, tomita

UNITS = 16


@dataclass(frozen=True, eq=False)
class Networks:
    """GRUs side by side, gates stacked as torch stacks them, each with a readout of one value."""

    W_x: Tensor  # (networks, 3 units, 2)
    W_h: Tensor  # (networks, 3 units, units)
    b_x: Tensor  # (networks, 3 units)
    b_h: Tensor  # (networks, 3 units)
    w_y: Tensor  # (networks, units)
    c: Tensor  # (networks,)

    def read(self, words: Tensor, noise=0.0, generator=None) -> Tensor:
        """(networks, words, steps) -> what is said before the first symbol and after each, (networks, words, steps + 1)."""
        units = self.W_h.shape[2]
        into = self.W_x.mT + self.b_x[:, None]
        state = self.W_h.new_zeros(*words.shape[:2], units)
        states = [state]
        for step in range(words.shape[2]):
            x = into.gather(1, words[:, :, step, None].expand(-1, -1, 3 * units))
            r, z, n = torch.baddbmm(self.b_h[:, None], state, self.W_h.mT).split(units, dim=2)
            x_r, x_z, x_n = x.split(units, dim=2)
            z = torch.sigmoid(x_z + z)
            fresh = torch.tanh(x_n + torch.sigmoid(x_r + r) * n)
            state = fresh + z * (state - fresh)
            if noise:
                state = state + noise * torch.randn(state.shape, generator=generator)
            states.append(state)
        return torch.einsum("nwsu,nu->nws", torch.stack(states, dim=2), self.w_y) + self.c[:, None, None]


def begun(number, seed) -> Networks:
    g = torch.Generator().manual_seed(seed)
    bound = UNITS**-0.5
    draw = lambda *shape: (2 * torch.rand(number, *shape, generator=g) - 1) * bound
    return Networks(draw(3 * UNITS, 2), draw(3 * UNITS, UNITS), draw(3 * UNITS), draw(3 * UNITS), draw(UNITS), draw())


def updates(networks, machines, *, number, runs, steps, rate, generator, noise=0.0):
    weights = [w.requires_grad_() for w in vars(networks).values()]
    optimiser = torch.optim.Adam(weights, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, number, eta_min=rate / 100)
    for update in range(1, number + 1):
        length = int(torch.randint(1, steps + 1, (), generator=generator))
        words = torch.stack([near_words(m, runs=runs, steps=length, generator=generator) for m in machines])
        truth = torch.as_tensor(np.stack([m.says(w) for m, w in zip(machines, words.numpy())]), dtype=torch.float32)
        optimiser.zero_grad()
        each = nn.functional.binary_cross_entropy_with_logits(
            networks.read(words, noise, generator), truth, reduction="none"
        ).mean(dim=(1, 2))
        each.sum().backward()
        for w in weights:  # clipped network by network
            norm = w.grad.flatten(1).norm(dim=1) if w.grad.ndim > 1 else w.grad.abs()
            w.grad *= (1.0 / norm.clamp(min=1.0)).reshape(-1, *[1] * (w.ndim - 1))
        optimiser.step()
        schedule.step()
        yield update, each.detach()
