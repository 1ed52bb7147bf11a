"""Where searches start: given states, draws around a trajectory or in a box, and later draws near what was found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Box, Dynamics, as_states
from hooks.errors import InputError
from hooks.trajectory import Trajectory

# Most steps taken by uniform draws. Each fixed point lies in each image of a trapping box, and corners where gates saturate
# and the search creeps do not (512 of 512 draws converged on a GRU where 281 did without); but steps lead away from
# sources, so draws take 0, 1, 2 and 3 in turn.
SETTLING = 3


def drawn_starts(dynamics: Dynamics, starts: Any, around: Any, generator: torch.Generator) -> Tensor:
    """Starts as states: given ones as they are, or an int of them drawn around a Trajectory or in a box."""
    if isinstance(starts, Trajectory):
        return as_states(dynamics, starts.points())
    if not isinstance(starts, int):
        return as_states(dynamics, starts)
    if starts < 1:
        raise InputError(f"a search needs a start at least, not {starts}")
    if isinstance(around, Trajectory):
        points = as_states(dynamics, around.points())
        rows = torch.randint(len(points), (starts,), generator=generator)
        noise = torch.randn(starts, dynamics.dim, generator=generator, dtype=torch.float64).to(points)
        return points[rows.to(points.device)] + 0.5 * points.std(dim=0, correction=0) * noise
    box = trapping_box(dynamics) if around is None else around
    if box is None:
        raise InputError(
            f"{starts} starts were asked of {dynamics.name!r}, which has no known trapping box: say around what, with "
            f"around=trajectory or around=(lower, upper)"
        )
    low, high = (
        torch.as_tensor(side, dtype=dynamics.dtype, device=dynamics.device).expand(dynamics.dim) for side in box
    )
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise InputError("the box around= needs finite bounds, the lower below the upper")
    uniform = low + (high - low) * torch.rand(starts, dynamics.dim, generator=generator, dtype=torch.float64).to(low)
    return _settled(dynamics, uniform) if around is None else uniform


def fresh_starts(dynamics: Dynamics, box: Box, roots: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Starts for a further round: half uniform in the box's image, half on lines through two known roots.

    A missing root of odd index often lies between known ones (a saddle between two attractors), so points on the
    line through a random pair, from a quarter before the first to a quarter beyond the second, are tried.
    """
    low, high = box
    dim = len(low)
    uniform = low + (high - low) * torch.rand(count, dim, generator=generator, dtype=torch.float64).to(low)
    if len(roots) < 2:
        return _settled(dynamics, uniform)
    half = count // 2
    pairs = torch.randint(len(roots), (2, half), generator=generator).to(roots.device)
    share = 1.5 * torch.rand(half, 1, generator=generator, dtype=torch.float64).to(low) - 0.25
    spread = 0.05 * (high - low) * torch.randn(half, dim, generator=generator, dtype=torch.float64).to(low)
    between = roots[pairs[0]] + share * (roots[pairs[1]] - roots[pairs[0]]) + spread
    return torch.cat([_settled(dynamics, uniform[half:]), torch.clamp(between, low, high)])


def trapping_box(dynamics: Dynamics) -> Box | None:
    """The map's own trapping box, when it is known."""
    return None if dynamics.box is None else dynamics.box(None)


def _settled(dynamics: Dynamics, states: Tensor) -> Tensor:
    steps = torch.arange(len(states), device=states.device) % (SETTLING + 1)
    with torch.no_grad():
        for step in range(SETTLING):
            states = torch.where((steps > step)[:, None], dynamics(states), states)
    return states
