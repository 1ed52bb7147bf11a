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
# sources, so a quarter of the draws each takes 0, 1, 2 and 3.
SETTLING = 3


def drawn_starts(
    dynamics: Dynamics, starts: Any, around: Any, generator: torch.Generator, *, drives: Tensor | None = None
) -> Tensor:
    """Starts as states: given ones as they are, or an int of them drawn around a Trajectory or in a box."""
    if isinstance(starts, Trajectory):
        return as_states(dynamics, starts.points())
    if not isinstance(starts, int):
        return as_states(dynamics, starts)
    if starts < 1:
        raise InputError(f"a search needs a start at least, not {starts}")
    if isinstance(around, Trajectory):
        # a quarter around where the runs begin: an orbit on its way to infinity says little of where the map rests
        begin = _around(as_states(dynamics, around.states[:, 0]), starts // 4, generator)
        return torch.cat([_around(as_states(dynamics, around.points()), starts - len(begin), generator), begin])
    box = (
        trapping_box(dynamics, None if drives is None else drives.reshape(-1, dynamics.inputs))
        if around is None
        else around
    )
    if box is None:
        raise InputError(
            f"{starts} starts were asked of {dynamics.name!r}, which has no known trapping box: say around what, with "
            f"around=trajectory or around=(lower, upper)"
        )
    low, high = as_box(dynamics, box)
    uniform = low + (high - low) * _sobol(starts, dynamics.dim, generator).to(low)
    return _settled(dynamics, uniform) if around is None and drives is None else uniform


def _around(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """States of these, drawn with Gaussian noise of half their spread."""
    rows = torch.randint(len(points), (count,), generator=generator).to(points.device)
    noise = torch.randn(count, points.shape[1], generator=generator, dtype=torch.float64).to(points)
    return points[rows] + 0.5 * points.std(dim=0, correction=0) * noise


def as_box(dynamics: Dynamics, box: Any) -> Box:
    """(lower, upper), each (dim,), from numbers or arrays. Raises InputError when they are not finite or out of order."""
    low, high = (
        torch.as_tensor(side, dtype=dynamics.dtype, device=dynamics.device).expand(dynamics.dim) for side in box
    )
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise InputError("the box around= needs finite bounds, the lower below the upper")
    return low, high


def fresh_starts(
    dynamics: Dynamics, box: Box, roots: Tensor, count: int, generator: torch.Generator, *, traps: bool = True
) -> Tensor:
    """Starts for a further round: half uniform in the box (its image, if it traps), half between known roots.

    A missing root often lies between known ones (a saddle between two attractors). On a GRU that keeps six bits, midpoints of
    random pairs reached 173 new roots in 384 starts, means of three 134, uniform draws 149, points anywhere on the lines 70.
    """
    low, high = box
    dim, quarter = len(low), count // 4
    uniform = low + (high - low) * torch.rand(count, dim, generator=generator, dtype=torch.float64).to(low)
    uniform = _settled(dynamics, uniform) if traps else uniform
    if len(roots) < 2:
        return uniform
    picked = roots[torch.randint(len(roots), (3, 2 * quarter), generator=generator).to(roots.device)]
    spread = 0.05 * (high - low) * torch.randn(quarter, dim, generator=generator, dtype=torch.float64).to(low)
    midpoints, centers = picked[:2, :quarter].mean(0), picked[:, quarter:].mean(0) + spread
    return torch.cat([uniform[2 * quarter :], midpoints, torch.clamp(centers, low, high)])


def _sobol(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(count, dim) scrambled Sobol points in [0, 1), float64; uniform draws where no Sobol sequence is that wide."""
    if dim > torch.quasirandom.SobolEngine.MAXDIM:
        return torch.rand(count, dim, generator=generator, dtype=torch.float64)
    seed = int(torch.randint(1 << 31, (1,), generator=generator))
    return torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed).draw(count, dtype=torch.float64)


def trapping_box(dynamics: Dynamics, drives: Tensor | None = None) -> Box | None:
    """The map's own trapping box, when it is known; of several drives (rows, inputs), the hull of their boxes."""
    if dynamics.box is None or drives is None:
        return None if dynamics.box is None else dynamics.box(None)
    boxes = [dynamics.box(drive) for drive in drives.unique(dim=0)]
    known = [box for box in boxes if box is not None]
    if not known or len(known) < len(boxes):
        return None
    return torch.stack([low for low, _ in known]).amin(0), torch.stack([high for _, high in known]).amax(0)


def _settled(dynamics: Dynamics, states: Tensor) -> Tensor:
    # in blocks: single Sobol points in turn would each see a part of the box
    steps = torch.arange(len(states), device=states.device) * (SETTLING + 1) // max(1, len(states))
    with torch.no_grad():
        for step in range(SETTLING):
            states = torch.where((steps > step)[:, None], dynamics(states), states)
    return states
