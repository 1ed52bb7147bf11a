"""Walking along a curve of slow points, one chord at a time: what ``continua`` charts with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hooks.dynamics import Box, Dynamics
from hooks.tangent import jacobian

TURN = 0.2  # radians from one state to the next: arcs are then measured to 1e-6 of their length
FINEST = 2.0**-14  # of the step: how closely the end of a line is located
COARSE = 1 / 64  # of the step: a curve that still turns by more than TURN has a corner there
CORNER = 1.2  # radians: the sharpest corner that is followed
ROUNDS, CORRECTIONS = 8, 8  # slopes taken for a place, and steps with each of them
TILT = 1e-8  # |A v - (v'A v) v| of a tangent
CLOSED, LOST, OUTSIDE = "closed", "where the curve is lost", "on the wall of the box"
FAST, STEEP = "where the drift exceeds its limit", "where its eigenvalue leaves 1"


@dataclass(frozen=True, eq=False)
class Place:
    """A state on the curve."""

    state: Tensor  # (dim,)
    tangent: Tensor  # (dim,)
    drift: float
    slope: float  # eigenvalue of A along the tangent
    residual: float  # transverse part of G; infinite where no place was found
    end: str = ""  # why the walk stops here
    gap: float = float("nan")  # from the start, where the curve closes

    def reversed(self) -> Place:
        """The same place, seen the other way along the curve."""
        return replace(self, tangent=-self.tangent, drift=-self.drift)


@dataclass(frozen=True, eq=False)
class Limits:
    """What a place and a walk must keep: the options of ``chart_continuum``."""

    box: Box | None
    step: float
    steps: int
    near: float
    speed: float
    tolerance: float

    def broken_by(self, place: Place) -> str:
        """Why a place is not one of the charted curve; empty where it is."""
        if abs(place.slope) > self.near:
            return STEEP
        if not place.residual <= self.tolerance:
            return LOST
        if self.box is not None and not ((place.state >= self.box[0]) & (place.state <= self.box[1])).all():
            return OUTSIDE
        return FAST if abs(place.drift) > self.speed else ""


def walk(dynamics: Dynamics, origin: Place, limits: Limits) -> Iterator[Place]:
    """Places one chord apart, then one more with ``end``: why there is no further one.

    A chord that fails is halved, down to ``FINEST`` of the step, which locates an end that closely; after three good
    ones it is doubled again.
    """
    step = limits.step
    here, chord, good = origin, step, 0
    for _ in range(limits.steps):
        while True:
            home = origin.state - here.state
            ahead = float(home @ here.tangent)
            returns = 0 < ahead <= 1.5 * chord and float(home.norm()) <= 2 * ahead
            reach = ahead if returns else chord
            guess = here.state + reach * here.tangent
            place = placed(dynamics, guess, here.tangent, limits.tolerance)
            end = limits.broken_by(place)
            turn = float(torch.acos((here.tangent @ place.tangent).clamp(-1, 1)))
            sharp = turn > (TURN if reach > COARSE * step else CORNER)
            if not end and (sharp or float((place.state - guess).norm()) > reach):
                end = LOST
            if not end:
                break
            if chord <= FINEST * step:
                yield replace(here, end=end)
                return
            chord, good = chord / 2, 0
        gap = float((place.state - origin.state).norm())
        if returns and gap <= 0.01 * reach and float(place.tangent @ origin.tangent) > 0.9:
            yield replace(place, end=CLOSED, gap=gap)
            return
        good += 1
        if good >= 3 and turn < TURN / 2:
            chord, good = min(2 * chord, step), 0
        here = place
        yield here


def placed(dynamics: Dynamics, guess: Tensor, along: Tensor, tolerance: float) -> Place:
    """The state on the curve in the hyperplane through the guess, across ``along``; an infinite residual if none is found.

    Each round takes the slope A once: Rayleigh quotient iteration on it gives the tangent, and a few Newton steps with
    it make G parallel to that tangent.
    """
    state, tangent, dim = guess, along, dynamics.dim
    eye = torch.eye(dim).to(guess)
    bordered = guess.new_zeros(dim + 1, dim + 1)
    bordered[dim, :dim] = along
    corner = guess.new_zeros(dim + 1)
    corner[dim] = 1

    for _ in range(ROUNDS):
        A = jacobian(dynamics, state[None])[0] - eye
        for _ in range(CORRECTIONS):
            slope = tangent @ A @ tangent
            if (A @ tangent - slope * tangent).norm() <= TILT:
                break
            bordered[:dim, :dim], bordered[:dim, dim] = A - slope * eye, tangent
            solved = torch.linalg.solve_ex(bordered, corner).result[:dim]
            tangent = solved / solved.norm()
        drift, rest = _parted(dynamics, state, tangent)
        if rest.norm() <= tolerance:
            return Place(state, tangent, float(drift), float(slope), float(rest.norm()))
        bordered[:dim, :dim], bordered[:dim, dim] = A, tangent
        factors, pivots, _ = torch.linalg.lu_factor_ex(bordered)
        for _ in range(CORRECTIONS):
            right = torch.cat([-rest, rest.new_zeros(1)])[:, None]
            state = state + torch.linalg.lu_solve(factors, pivots, right)[:dim, 0]
            before, (drift, rest) = rest.norm(), _parted(dynamics, state, tangent)
            if rest.norm() <= 0.1 * tolerance or not rest.norm() < 0.5 * before:
                break
        if not torch.isfinite(state).all():
            break
    return Place(state, tangent, float(drift), float(slope), residual=float("inf"))


def _parted(dynamics: Dynamics, state: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """G along the tangent, and the rest of it."""
    gap = gaps(dynamics, state[None])[0]
    drift = tangent @ gap
    return drift, gap - drift * tangent


def gaps(dynamics: Dynamics, states: Tensor) -> Tensor:
    """G(x) = F(x) - x."""
    with torch.no_grad():
        return dynamics(states) - states
