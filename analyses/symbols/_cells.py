"""Cells of a proof: a machine's states split by the last symbols, a center and a norm for each; none of these need be exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.symbols.automaton import Automaton
from hooks.dynamics import Dynamics
from hooks.tangent import jacobian

RELAXED = 200  # rounds of the centers and of the metrics


@dataclass(frozen=True, eq=False)
class Cells:
    """The machine with its states split by the last symbols: successors (cells, alphabet), the machine's state of each cell,
    and the edge (cell, symbol) by which it was reached first, -1 for the first one."""

    targets: Tensor
    places: np.ndarray
    reached: list[tuple[int, int]]


def split_states(machine: Automaton, depth: int) -> Cells:
    """All that words lead to: a state and the last ``depth`` symbols, or the whole word where it is shorter."""
    seen: dict[tuple[int, tuple[int, ...]], int] = {(machine.initial, ()): 0}
    order, targets, reached = [(machine.initial, ())], [], [(-1, -1)]
    for number, (state, last) in enumerate(order):
        row = []
        for symbol, after in enumerate(machine.transitions[state].tolist()):
            cell = (after, (*last, symbol)[-depth:] if depth else ())
            if cell not in seen:
                seen[cell] = len(order)
                order.append(cell)
                reached.append((number, symbol))
            row.append(seen[cell])
        targets.append(row)
    return Cells(torch.tensor(targets), np.array([state for state, _ in order], dtype=np.int64), reached)


def edges(cells: Cells, drives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every edge: its cell, its target and the drive."""
    count, alphabet = cells.targets.shape
    symbols = torch.arange(alphabet).repeat(count)
    return torch.arange(count).repeat_interleave(alphabet), cells.targets.reshape(-1), drives[symbols]


def centers_of(dynamics: Dynamics, drives: Tensor, cells: Cells, start: Tensor) -> Tensor:
    """(cells, dim) middles of the boxes around the images of the predecessors' centers, from the states of the words that reach
    each cell first; the start where there are no predecessors."""
    sources, targets, drive = edges(cells, drives)
    index = targets[:, None].expand(-1, start.shape[1])
    centers = start.repeat(len(cells.places), 1)
    for cell, (before, symbol) in enumerate(cells.reached[1:], start=1):
        with torch.no_grad():
            centers[cell] = dynamics(centers[before][None], drives[symbol][None])[0]
    for _ in range(RELAXED):
        with torch.no_grad():
            images = dynamics(centers[sources], drive)
        low = torch.full_like(centers, torch.inf).scatter_reduce(0, index, images, "amin")
        high = torch.full_like(centers, -torch.inf).scatter_reduce(0, index, images, "amax")
        moved = torch.where(torch.isfinite(high - low), (low + high) / 2, start)
        if bool(((moved - centers).abs() <= 1e-12 * (1 + centers.abs())).all()):
            return moved
        centers = moved
    return centers


def metrics(dynamics: Dynamics, drives: Tensor, cells: Cells, centers: Tensor) -> Tensor:
    """(cells, dim, dim) T with T'T = I + w sum over the symbols of J' T'T J at the successor, w small enough for a limit."""
    sources, targets, drive = edges(cells, drives)
    slopes = jacobian(dynamics, centers[sources], drive)
    eye = torch.eye(dynamics.dim, dtype=torch.float64)

    def pulled(metric: Tensor) -> Tensor:
        back = slopes.mT @ metric[targets] @ slopes
        return torch.zeros_like(metric).index_add(0, sources, back)

    probe, rate = eye.expand(len(centers), -1, -1), 0.0
    for _ in range(30):  # power steps: the growth of the sum over words
        after = pulled(probe)
        rate = float(after.norm() / probe.norm())
        if rate == 0:
            break
        probe = after / after.norm()
    weight = min(1.0, 0.8 / max(rate, 1e-12))
    metric = eye.expand(len(centers), -1, -1)
    for _ in range(RELAXED):
        following = eye + weight * pulled(metric)
        if bool(((following - metric).abs() <= 1e-9 * metric.abs().amax()).all()):
            break
        metric = following
    T, failed = torch.linalg.cholesky_ex(following, upper=True)
    return torch.where(failed[:, None, None] > 0, torch.nan, T)
