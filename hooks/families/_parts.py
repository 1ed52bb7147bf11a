"""What the families share: nonlinearities with their slopes, products with tangents, ReLU's trapping box, names of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hooks.dynamics import digest

NONLINEARITIES: Mapping[
    str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor], tuple[float, float]]
] = {
    # name: (phi, its slope from (input, output), its range)
    "tanh": (torch.tanh, lambda _, after: 1 - after * after, (-1.0, 1.0)),
    "relu": (torch.relu, lambda before, _: (before > 0).to(before.dtype), (0.0, float("inf"))),
    "sigmoid": (torch.sigmoid, lambda _, after: after * (1 - after), (0.0, 1.0)),
    "softplus": (nn.functional.softplus, lambda before, _: torch.sigmoid(before), (0.0, float("inf"))),
}


def named_digest(weights: Mapping[str, Tensor | str | int], *settings: object) -> str:
    """Of named tensors and settings, in whatever order they come: a file gives them back in its own."""
    return digest(*(part for pair in sorted(weights.items(), key=lambda pair: pair[0]) for part in pair), *settings)


def times(W: Tensor, tangents: Tensor) -> Tensor:
    """W times every direction of (..., units, directions) as one matrix product, 2 to 6 times faster than one a row."""
    return (tangents.mT @ W.mT).mT


def relu_ceiling(W: Tensor, most: Tensor) -> Tensor | None:
    """u >= relu(W x + most) for every x in [0, u], or None: u = (I - W+)^-1 relu(most), W+ the positive part."""
    positive = W.clamp(min=0)
    if torch.linalg.eigvals(positive).abs().max() >= 1 - 1e-6:
        return None
    top = torch.linalg.solve(torch.eye(len(W)).to(W) - positive, most.clamp(min=0) + 1e-9)
    return top * (1 + 1e-9) if (positive @ top + most <= top).all() and (top >= 0).all() else None
