"""The loss at the end of an unroll, where none is given."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hooks.dynamics import Dynamics

Loss = Callable[[Tensor], Tensor]  # (batch, dim) last states -> (batch,)


def projected(dynamics: Dynamics, generator: torch.Generator | None) -> Loss:
    """The last state's component along one random unit direction: linear, so that it adds no rate of its own."""
    generator = generator or torch.Generator().manual_seed(0)
    direction = torch.randn(dynamics.dim, generator=generator, dtype=torch.float64)
    direction = (direction / direction.norm()).to(dtype=dynamics.dtype, device=dynamics.device)
    return lambda states: states @ direction
