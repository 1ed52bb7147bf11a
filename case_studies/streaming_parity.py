"""draft"""

from __future__ import annotations
from collections.abc import Iterator
from dataclasses import dataclass
import numpy as np
import torch
from torch import Tensor
from case_studies._grammars import all_words
from hooks.watch import Watch, quiet

UNITS, LENGTHS, BATCH = 100, range(1, 11), 128
RATE = 0.02


@dataclass(frozen=True, eq=False)
class Networks:
    """Rectified networks of one layer side by side: h' = relu(W_x[:, symbol] + W_h h + b), read by W_y h + c; from h = 1."""

    W_x: Tensor  # (networks, units, 2)
    W_h: Tensor  # (networks, units, units)
    b: Tensor  # (networks, units)
    W_y: Tensor  # (networks, 2, units)
    c: Tensor  # (networks, 2)

    def read(self, words: Tensor) -> Tensor:
        """(networks, words, steps) -> scores after the last symbol, (networks, words, 2)."""
        states = torch.ones(*words.shape[:2], self.W_h.shape[1])
        into = self.W_x.mT + self.b[:, None]  # (networks, 2, units)
        for step in range(words.shape[2]):
            index = words[:, :, step, None].expand(-1, -1, self.W_h.shape[1])
            states = torch.relu(torch.baddbmm(into.gather(1, index), states, self.W_h.mT))
        return torch.baddbmm(self.c[:, None], states, self.W_y.mT)


def begun(seeds, gains) -> Networks:
    drawn = []
    for seed, gain in zip(seeds, gains, strict=True):
        g = torch.Generator().manual_seed(seed)
        draw = lambda rows, columns: torch.randn(rows, columns, generator=g) * gain * (2 / (rows + columns)) ** 0.5
        drawn.append((draw(UNITS, 2), draw(UNITS, UNITS), torch.zeros(UNITS), draw(2, UNITS), torch.zeros(2)))
    return Networks(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))


def epochs(networks: Networks, data: list[Tensor], generator, number) -> Iterator[tuple[int, Networks, Tensor]]:
    """SGD"""
    weights = [w.requires_grad_() for w in vars(networks).values()]
    rates = (RATE, RATE, 2 * RATE, RATE, RATE)  # torch keeps two biases of the recurrence, which move alike
    count = len(networks.b)
    eye = torch.eye(2)
    for epoch in range(1, number + 1):
        losses = torch.zeros(count)
        n = 0
        for words in data:
            order = torch.rand(count, len(words), generator=generator).argsort(1)
            for rows in order.split(BATCH, dim=1):
                batch = words[rows]
                error = ((networks.read(batch) - eye[batch.sum(2) % 2]) ** 2).mean(dim=(1, 2))
                grads = torch.autograd.grad(error.sum(), weights)
                with torch.no_grad():
                    for w, g, r in zip(weights, grads, rates):
                        w -= r * g
                losses += error.detach() * rows.shape[1]
                n += rows.shape[1]
        yield epoch, networks, losses / n
