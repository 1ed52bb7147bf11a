"""Slopes of the blocks of a stack along recorded states, and their leading singular values where they are too wide to form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.result import Check, Null
from hooks.dynamics import Dynamics, as_states
from hooks.errors import InputError
from hooks.tangent import jacobian, pull, push, readout_pull, readout_push
from hooks.trajectory import Trajectory

WIDEST = 512  # units up to which slopes are formed
LEADING = 16  # singular values of wider ones
SPARE = 8  # further directions in a frame: what is sought converges by its gap to the next one beyond them
SWEEPS, SETTLED = 60, 1e-6  # of subspace iteration, and the residual that ends it, as a share of the largest value
NULL_WIDTH = 256  # of Gaussian blocks in place of wider ones
DRAWS = 39  # of them: rank p from 0.025
PROBES = 32  # random directions for a trace: good to some 20 % over the square root of the rank
LARGEST_MISS = {torch.float64: 1e-9, torch.float32: 1e-4}
GAUSSIAN, UNSTRUCTURED = "Gaussian blocks", "updates are independent Gaussian matrices of the same norm"

Link = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # a linear map of columns, and its adjoint


@dataclass(frozen=True, eq=False)
class Leading:
    """Leading singular triples of a chain of linear maps.

    ``values`` (kept,), each within ``bounds`` (kept,) of a singular value; ``left`` (outputs, kept); ``right`` (dim, kept).
    """

    values: np.ndarray
    bounds: np.ndarray
    left: Tensor
    right: Tensor


def fitting(dynamics: Sequence[Dynamics], trajectory: Trajectory, analysis: str) -> list[Tensor]:
    """Each run's states (sites, dim), in its own map's dtype.

    Raises
    ------
    InputError
        Unless there is one driven map of clock "layer" a run, of the run's width, and no run is padded.
    """
    runs, sites, dim = trajectory.states.shape
    if trajectory.clock != "layer" or not trajectory.valid.all() or sites < 2 or len(dynamics) != runs or not runs:
        raise InputError(
            f"{analysis} takes one map a run over depth, none padded; {len(dynamics)} maps, {runs} runs of {sites} sites, "
            f"clock {trajectory.clock!r} came"
        )
    other = next((one for one in dynamics if one.clock != "layer" or not one.driven or one.dim != dim), None)
    if other is not None:
        raise InputError(
            f"{analysis} takes maps of {dim} units driven by the layer's number, as the states are; {other.name!r} has "
            f"{other.dim} units, clock {other.clock!r} and {'a' if other.driven else 'no'} drive"
        )
    return [as_states(one, run) for one, run in zip(dynamics, trajectory.states, strict=True)]


def replay_miss(dynamics: Dynamics, path: Tensor) -> float:
    """The largest miss of stepping each recorded state to the next, over the largest recorded one."""
    with torch.no_grad():
        after = torch.cat([dynamics(path[block : block + 1], block) for block in range(len(path) - 1)])
    return float((after - path[1:]).norm(dim=1).max() / path.norm(dim=1).max().clamp(min=1e-300))


def slopes_of(dynamics: Dynamics, path: Tensor) -> np.ndarray:
    """(blocks, dim, dim) slope of every block at the state that entered it, float64."""
    slopes = [jacobian(dynamics, path[block : block + 1], block) for block in range(len(path) - 1)]
    return torch.cat(slopes).double().cpu().numpy()


def readout_slope(dynamics: Dynamics, state: Tensor) -> np.ndarray:
    """(outputs, dim) slope of the readout at a state (dim,), from ``dim`` pushes: outputs may be many more."""
    tangents = torch.eye(dynamics.dim).to(state)[None]
    return readout_push(dynamics, state[None], tangents)[0].double().cpu().numpy()


def block_link(dynamics: Dynamics, path: Tensor, block: int, *, update: bool = False) -> Link:
    """One block's slope at the state that entered it; its difference from the identity for an ``update``."""
    at = path[block : block + 1]

    def forward(columns: Tensor) -> Tensor:
        carried = push(dynamics, at, columns[None], block)[1][0]
        return carried - columns if update else carried

    def back(columns: Tensor) -> Tensor:
        carried = pull(dynamics, at, columns[None], block)[0]
        return carried - columns if update else carried

    return forward, back


def readout_link(dynamics: Dynamics, path: Tensor) -> Link:
    """The readout's slope at the last state."""
    at = path[-1:]
    return (
        lambda columns: readout_push(dynamics, at, columns[None])[0],
        lambda columns: readout_pull(dynamics, at, columns[None])[0],
    )


def leading(links: Sequence[Link], like: Tensor, kept: int, generator: torch.Generator) -> Leading:
    """Leading singular triples of links[-1] ... links[0], by subspace iteration.

    Each sweep takes a frame forward and the image's frame back, orthonormalised after every link, so that the product is never
    formed. Of a triple (s, u, v) with P v = s u, some singular value lies within |P'u - s v| of s (Weyl).

    Parameters
    ----------
    like : (dim,)
        A state: its width, dtype and device.
    """
    width = min(kept + SPARE, len(like))
    kept = min(kept, len(like))
    frame = torch.linalg.qr(torch.randn(len(like), width, generator=generator, dtype=torch.float64))[0].to(like)
    values, bounds = np.zeros(kept), np.full(kept, np.inf)
    left = right = frame[:, :kept]
    for _ in range(SWEEPS):
        image, triangle = _carried(frame, [forward for forward, _ in links])
        turn, found, other = torch.linalg.svd(triangle, full_matrices=False)
        u, v = image @ turn.to(like), frame @ other.mT.to(like)
        frame, triangle = _carried(u, [back for _, back in reversed(links)])
        gaps = ((frame @ triangle.to(like)).double() - v.double() * found).norm(dim=0)
        values, bounds = found[:kept].cpu().numpy(), gaps[:kept].cpu().numpy()
        left, right = u[:, :kept], v[:, :kept]
        if not (bounds > SETTLED * values[:1].clip(1e-300)).any():
            break
    return Leading(values, bounds, left, right)


def _carried(frame: Tensor, maps: Sequence[Callable[[Tensor], Tensor]]) -> tuple[Tensor, Tensor]:
    """(outputs, columns) orthonormal and (columns, columns) float64, whose product is the frame carried through."""
    total = torch.eye(frame.shape[1], dtype=torch.float64, device=frame.device)
    for carry in maps:
        frame, triangle = torch.linalg.qr(carry(frame))
        total = triangle.double() @ total
    return frame, total


def gaussian_blocks(sizes: np.ndarray, dim: int, generator: torch.Generator) -> np.ndarray:
    """(blocks, width, width) identity plus independent Gaussian entries whose Frobenius norm is sizes (blocks,) on average.

    Of more than ``NULL_WIDTH`` units that many stand for all, with the same norm a unit: singular values of such products
    depend on nothing else as the width grows.
    """
    width = min(dim, NULL_WIDTH)
    noise = torch.randn(len(sizes), width, width, generator=generator, dtype=torch.float64).numpy()
    return np.eye(width) + noise * (sizes / np.sqrt(dim * width))[:, None, None]


def update_traces(dynamics: Dynamics, path: Tensor, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(blocks,) Frobenius norms of the updates R, and (blocks,) traces of R R, from ``PROBES`` random directions each."""
    probes = torch.randn(dynamics.dim, PROBES, generator=generator, dtype=torch.float64).to(path)
    sizes, traces = [], []
    for block in range(len(path) - 1):
        forward, back = block_link(dynamics, path, block, update=True)
        there, from_there = forward(probes).double(), back(probes).double()
        sizes.append(float(there.square().sum() / PROBES) ** 0.5)
        traces.append(float((there * from_there).sum() / PROBES))
    return np.array(sizes), np.array(traces)


def replayed(misses: Sequence[float] | np.ndarray, dynamics: Sequence[Dynamics]) -> Check:
    """That the maps step the recorded states to the next ones, to the rounding of the coarsest of them."""
    tolerance = max(LARGEST_MISS.get(one.dtype, 1e-2) for one in dynamics)
    return Check("largest miss of a replayed path, relative to its norm", 0.0, float(max(misses)), tolerance)


def nulls_of(
    observed: Mapping[str, float], drawn: Sequence[Mapping[str, float]], name: str, hypothesis: str
) -> tuple[Null, ...]:
    """One null a statistic that is finite throughout; none without draws."""
    return tuple(
        Null(name, hypothesis, "network", np.array([one[statistic] for one in drawn]), value, statistic)
        for statistic, value in observed.items()
        if drawn and np.isfinite([value, *(one[statistic] for one in drawn)]).all()
    )


def told(nulls: Sequence[Null], statistic: str) -> str:
    """What the nulls of a statistic give, in brackets; empty without any."""
    parts = [
        f"{null.name} {np.median(null.draws):.3g}, {'' if null.beaten else 'not '}beaten"
        for null in nulls
        if null.statistic == statistic
    ]
    return f" ({'; '.join(parts)})" if parts else ""
