"""Every region of a piecewise-linear map that holds a fixed point, and where it lies: what fixed points and cycles share.

A walk over principal pivots decides regions in float64 balls (``_regions``); what stays open is decided in rational arithmetic
(``_rational``). Takes a network in float64; costs at most 2^P leaves, and one inverse of I - J a fixed point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analyses.result import Check
from analyses.symbols._rational import Decision, Equations, Kind, decided
from analyses.symbols._regions import Share, batches, complement, reduced, solutions, walk
from hooks.enclosure import EPS
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.watch import Watch

ENTRIES = 1 << 21  # entries of I - J held at once


@dataclass(frozen=True, eq=False)
class Census:
    """What the 2^P regions hold; those with one fixed point are in the order of their bits."""

    regions: Bool[np.ndarray, "found relu"]
    continua: Bool[np.ndarray, "continua relu"]
    empty: int
    undecided: int  # not reached before the loop was stopped
    decided_exactly: int  # in rational arithmetic


@dataclass(frozen=True, eq=False)
class Places:
    """Where the fixed points of some regions lie."""

    points: Float[np.ndarray, "found dim"]
    radii: Float[np.ndarray, " found"]
    rational: Bool[np.ndarray, " found"]
    border: Bool[np.ndarray, " found"]  # a rectified unit is exactly 0
    again: int  # decided a second time, in rational arithmetic
    differ: int  # of them, those that it decides otherwise


def in_float64(network: PiecewiseLinear) -> PiecewiseLinear:
    """The network with its weights in float64. Raises InputError when one is not finite."""
    network = replace(network, **{name: getattr(network, name).detach().double().cpu() for name in ("A", "W", "h")})
    weights = torch.cat([network.A, network.W.flatten(), network.h])
    if not torch.isfinite(weights).all():
        raise InputError(f"{int((~torch.isfinite(weights)).sum())} of the {len(weights)} weights are not finite")
    return network


def census(network: PiecewiseLinear, equations: Callable[[], Equations], watch: Watch) -> Census:
    """Each region decided; ``equations`` are those of the network, made when they are first needed."""
    shares: list[Share] = []
    decisions: list[Decision] = []
    for settled in watch(_settled(network, equations), batches(network.relu)):
        decisions.append(settled) if isinstance(settled, Decision) else shares.append(settled)
    alone, continua = ([d.regions for d in decisions if d.kind is kind] for kind in (Kind.POINT, Kind.CONTINUUM))
    empty = sum(share.empty for share in shares) + sum(len(d.regions) for d in decisions if d.kind is Kind.EMPTY)
    none = np.zeros((0, network.relu), dtype=bool)
    regions = np.concatenate([none, *(share.real.numpy() for share in shares), *alone])
    return Census(
        regions=regions[np.lexsort((np.zeros(len(regions)), *regions.T[::-1]))],
        continua=np.concatenate([none, *continua]),
        empty=empty,
        undecided=2**network.relu - empty - len(continua) - len(regions),
        decided_exactly=sum(len(decision.regions) for decision in decisions),
    )


def places(
    network: PiecewiseLinear,
    equations: Callable[[], Equations],
    regions: Bool[np.ndarray, "found relu"],
    *,
    exact: bool = False,
) -> Places:
    """The fixed points of regions that hold one each; in rational arithmetic where float64 does not tell their signs."""
    bits, cut = torch.from_numpy(regions), len(network.A) - network.relu
    balls = [solutions(network, part) for part in bits.split(max(1, ENTRIES // len(network.A) ** 2))]
    mid, rad = torch.cat([ball.mid for ball in balls]), torch.cat([ball.rad for ball in balls])
    points, radii = mid.numpy(), rad.amax(1).numpy()
    doubtful = (mid.abs() <= rad)[:, cut:].any(1) | ~torch.isfinite(rad).all(1)
    again = {row: equations().region(regions[row]) for row in range(len(regions)) if exact or doubtful[row]}
    bounded = [row for row in again if radii[row] < np.inf]
    differ = sum(not _agrees(again[row], points[row], float(radii[row])) for row in bounded)
    for row in torch.nonzero(doubtful)[:, 0].tolist():
        points[row], radii[row] = rounded(again[row].point)
    return Places(
        points=points,
        radii=radii,
        rational=np.array([row in again for row in range(len(points))], dtype=bool),
        border=np.array([row in again and 0 in again[row].point[cut:] for row in range(len(points))], dtype=bool),
        again=len(again),
        differ=differ,
    )


def index_checks(
    network: PiecewiseLinear, regions: Bool[Tensor, "found relu"], name: str = "index sum of u - C relu(u) - c"
) -> tuple[Check, ...]:
    """The sum of indices against 1, when fixed points of every H_s(u) = s (C relu(u) + c), 0 <= s <= 1, are proved bounded.

    With the unrectified units eliminated the rectified ones satisfy u = C relu(u) + c. As relu(u) <= C+ relu(u) + c+, with +
    the positive part, a v > 0 with C+ v < v bounds relu(u) and so u: the degree of u - H_1(u) is that of the identity, 1.
    """
    off = torch.zeros(network.relu, dtype=torch.bool)
    table = reduced(network, off)
    C = (table.mid + table.rad)[len(network.A) - network.relu :, :-1].clamp(min=0)
    v = torch.linalg.solve_ex(torch.eye(len(C)).to(C) - C, torch.ones(len(C)).to(C)).result
    if not ((v > 0) & (C @ v * (1 + 2 * (len(C) + 4) * EPS) < v)).all() or not torch.isfinite(table.rad).all():
        return ()
    parts = torch.cat([off[None], regions]).split(max(1, ENTRIES // len(network.A) ** 2))
    dets = torch.cat([torch.linalg.slogdet(complement(network, part).mid).sign for part in parts])
    return (Check(name, 1.0, float((dets[1:] * dets[0]).sum()), 0.0),)


def _settled(network: PiecewiseLinear, equations: Callable[[], Equations]) -> Iterator[Share | Decision]:
    """Every region once, in floats if they decide it."""
    for share in walk(network):
        yield share
        if len(share.open):
            yield from decided(equations(), share.open.numpy())


def _agrees(decision: Decision, state: np.ndarray, radius: float) -> bool:
    """The region holds one point, within the radius of the state."""
    return decision.kind is Kind.POINT and _distance(decision.point, state) <= radius


def rounded(point: tuple[Fraction, ...]) -> tuple[np.ndarray, float]:
    """The nearest float64 point, and a bound of its distance in every coordinate."""
    nearest = np.array([float(x) for x in point])
    return nearest, _distance(point, nearest)


def _distance(point: tuple[Fraction, ...], state: np.ndarray) -> float:
    """Largest difference of a coordinate, rounded up."""
    exact = max(abs(x - Fraction(y)) for x, y in zip(point, state.tolist(), strict=True))
    return float(np.nextafter(float(exact), np.inf)) if exact else 0.0
