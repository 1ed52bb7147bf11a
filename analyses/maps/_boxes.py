"""Branch and bound over a box: what ``absence``, ``contraction`` and ``lyapunov_functions`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analyses.maps._starts import trapping_box
from hooks.dynamics import Box, Dynamics
from hooks.enclosure import EPS, TINY
from hooks.errors import InputError

ENTRIES = 1 << 18  # slope entries of the boxes examined at once: 2 MB in float64, some twenty copies of it in flight
CUT = 0.4871  # where a side is cut: not in the middle, which in symmetric boxes of symmetric maps is where fixed points lie


@dataclass(frozen=True, eq=False)
class Cover:
    """A box in parts, each (parts, 2, dim): those still open and those set aside; and how many have been examined."""

    open: Tensor
    aside: Tensor
    examined: int


# parts -> (what is still open of them, which side of each to halve: the largest weight times width, what is set aside)
Examination = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def box_sides(dynamics: Dynamics, box: Any) -> Box:
    """(lower, upper), each (dim,) float64: the given box, or the map's trapping box.

    Raises
    ------
    InputError
        When none is known, or its sides are not finite or not ordered; when the map does not step in float64.
    """
    if dynamics.dtype != torch.float64:
        raise InputError(
            f"proofs are made in float64, and {dynamics.name!r} steps in {dynamics.dtype}: load it in float64"
        )
    sides = trapping_box(dynamics) if box is None else box
    if sides is None:
        raise InputError(f"{dynamics.name!r} has no known trapping box: say which box, with box=(lower, upper)")
    low, high = (torch.as_tensor(side, dtype=torch.float64, device=dynamics.device) for side in sides)
    if any(side.ndim > 1 or side.numel() not in (1, dynamics.dim) for side in (low, high)):
        raise InputError(
            f"the sides of a box are numbers or have shape ({dynamics.dim},), but shapes {tuple(low.shape)} and "
            f"{tuple(high.shape)} came"
        )
    low, high = low.expand(dynamics.dim), high.expand(dynamics.dim)
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low <= high).all()):
        raise InputError("a box needs finite sides, the lower nowhere above the upper")
    return low, high


def centered(parts: Tensor) -> tuple[Tensor, Tensor]:
    """(center, radius) that cover the parts (parts, 2, dim), for ``enclose``."""
    low, high = parts.unbind(1)
    center = low + (high - low) / 2
    return center, torch.maximum(high - center, center - low) * (1 + 2 * EPS) + TINY


def halves(parts: Tensor, weights: Tensor) -> Tensor:
    """Each part cut in two (at ``CUT``) across the side with the largest weight times width: lower ones, then upper ones."""
    rows = torch.arange(len(parts), device=parts.device)
    low, high = parts.unbind(1)
    across = torch.nan_to_num(weights * (high - low)).argmax(1)
    cut = (low + CUT * (high - low))[rows, across]
    lower, upper = parts.clone(), parts.clone()
    lower[rows, 1, across] = cut
    upper[rows, 0, across] = cut
    return torch.cat([lower, upper])


def covers(cover: Cover, examine: Examination, splits: int) -> Iterator[Cover]:
    """Examine parts, oldest first, and halve what stays open, until nothing does or ``splits`` halvings are spent."""
    rows = max(1, ENTRIES // cover.open.shape[2] ** 2)
    while len(cover.open) and cover.examined <= 2 * splits:
        count = min(rows, 2 * splits + 1 - cover.examined)
        still, weights, aside = examine(cover.open[:count])
        waiting = torch.cat([cover.open[count:], halves(still, weights)])
        cover = Cover(waiting, torch.cat([cover.aside, aside]), cover.examined + len(cover.open[:count]))
        yield cover
