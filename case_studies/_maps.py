"""Textbook maps with their slopes; what is known of them: ``_systems.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from case_studies._flows import matrix
from hooks.dynamics import Dynamics
from hooks.errors import InputError


def logistic(r: float = 4.0) -> Dynamics:
    """x' = r x (1 - x)."""
    return _map(1, lambda x, _: r * x * (1 - x), lambda x, _: (r * (1 - 2 * x))[:, :, None])


def henon(a: float = 1.4, b: float = 0.3) -> Dynamics:
    """x' = 1 - a x^2 + y, y' = b x."""

    def step(states: Tensor, _: Any) -> Tensor:
        x, y = states.unbind(1)
        return torch.stack([1 - a * x * x + y, b * x], 1)

    return _map(2, step, lambda states, _: matrix(states, [[-2 * a * states[:, 0], 1.0], [b, 0.0]]))


def ikeda(u: float = 0.9) -> Dynamics:
    """z' = 1 + u z exp(i (0.4 - 6 / (1 + |z|^2))), z = x + i y: a turn and a shrinking by u, so det = u^2."""

    def step(states: Tensor, _: Any) -> Tensor:
        x, y = states.unbind(1)
        turn = 0.4 - 6 / (1 + x * x + y * y)
        return torch.stack([1 + u * (x * turn.cos() - y * turn.sin()), u * (x * turn.sin() + y * turn.cos())], 1)

    def slope(states: Tensor, _: Any) -> Tensor:
        x, y = states.unbind(1)
        size = 1 + x * x + y * y
        cos, sin = u * (0.4 - 6 / size).cos(), u * (0.4 - 6 / size).sin()
        real, imaginary = x * cos - y * sin, x * sin + y * cos
        by_x, by_y = 12 * x / size**2, 12 * y / size**2  # slope of the turn
        return matrix(
            states,
            [[cos - imaginary * by_x, -sin - imaginary * by_y], [sin + real * by_x, cos + real * by_y]],
        )

    return _map(2, step, slope)


def standard_map(kick: float = 6.0) -> Dynamics:
    """p' = p + kick sin x, x' = x + p', both mod 2 pi; the state is (x, p), the map keeps areas (Chirikov 1979)."""

    def step(states: Tensor, _: Any) -> Tensor:
        x, p = states.unbind(1)
        after = p + kick * torch.sin(x)
        return torch.stack([x + after, after], 1) % (2 * math.pi)

    def slope(states: Tensor, _: Any) -> Tensor:
        bend = kick * torch.cos(states[:, 0])
        return matrix(states, [[1 + bend, 1.0], [bend, 1.0]])

    return _map(2, step, slope)


def cat_map() -> Dynamics:
    """(2 x + y, x + y) mod 1, Arnold's."""
    A = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    return _map(2, lambda states, _: states @ A.T % 1, lambda states, _: A.expand(len(states), 2, 2))


def aubry_andre(strength: float = 2.0, energy: float = 0.0, ratio: float = (math.sqrt(5) - 1) / 2) -> Dynamics:
    """psi_(n+1) = (energy - 2 strength cos 2 pi theta) psi_n - psi_(n-1), theta' = theta + ratio mod 1.

    The state is (psi_n, psi_(n-1), theta). From psi = 0, where it stays, the tangents are carried by the transfer matrices;
    from elsewhere psi grows without bound. At an energy of the spectrum the exponents are +-ln strength and 0 above strength 1
    (Aubry, Andre 1980; the inverse localisation length), and all 0 below. Energy 0 is in the spectrum for every irrational
    ratio: the spectrum is symmetric, and a rational approximant of odd period has a middle band, which must hold 0.
    """

    def step(states: Tensor, _: Any) -> Tensor:
        now, before, theta = states.unbind(1)
        onsite = energy - 2 * strength * torch.cos(2 * math.pi * theta)
        return torch.stack([onsite * now - before, now, (theta + ratio) % 1], 1)

    def slope(states: Tensor, _: Any) -> Tensor:
        now, _before, theta = states.unbind(1)
        onsite = energy - 2 * strength * torch.cos(2 * math.pi * theta)
        by_theta = 4 * math.pi * strength * torch.sin(2 * math.pi * theta) * now
        return matrix(states, [[onsite, -1.0, by_theta], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    return _map(3, step, slope)


def chialvo_rulkov_chain(
    neurons: int = 3,
    coupling: float = 0.02,
    a: float = 0.89,
    b: float = 0.6,
    c: float = 0.28,
    k: float = 0.03,
    alpha: float = 4.3,
    sigma: float = 0.001,
    beta: float = 0.001,
) -> Dynamics:
    """A chain of Chialvo's and Rulkov's neurons in turn, the first one Chialvo's; the state is all x, then all y.

    Chialvo (Chaos, Solitons and Fractals 5, 1995): x' = x^2 exp(y - x) + k, y' = a y - b x + c. Rulkov (PRL 86, 2001):
    x' = alpha / (1 + x^2) + y, y' = y - sigma x - beta. To each x' is added coupling times the neighbours' x less its own. The
    coupling is this project's, and need not be that of the chain in arXiv 2405.05675; no exponents are quoted from there.
    """
    if neurons < 1:
        raise InputError(f"a chain has at least one neuron, but {neurons} came")
    first = torch.arange(neurons) % 2 == 0
    mask = first.double()
    keep, give, offset = mask * a + (1 - mask), mask * b + (1 - mask) * sigma, mask * c - (1 - mask) * beta
    links = torch.diag(torch.ones(neurons - 1, dtype=torch.float64), 1)
    links = links + links.T
    spread = coupling * (links - torch.diag(links.sum(1)))

    def step(states: Tensor, _: Any) -> Tensor:
        x, y = states.chunk(2, 1)
        fast = torch.where(first, x * x * torch.exp(mask * (y - x)) + k, alpha / (1 + x * x) + y)
        return torch.cat([fast + x @ spread.T, keep * y - give * x + offset], 1)

    def slope(states: Tensor, _: Any) -> Tensor:
        x, y = states.chunk(2, 1)
        grown = torch.exp(mask * (y - x))
        by_x = torch.where(first, x * (2 - x) * grown, -2 * alpha * x / (1 + x * x) ** 2)
        by_y = torch.where(first, x * x * grown, torch.ones_like(x))
        top = torch.cat([spread + torch.diag_embed(by_x), torch.diag_embed(by_y)], 2)
        bottom = torch.cat([-torch.diag(give), torch.diag(keep)], 1)
        return torch.cat([top, bottom.expand(len(states), *bottom.shape)], 1)

    return _map(2 * neurons, step, slope)


def _map(dim: int, step: Callable[[Tensor, Any], Tensor], slope: Callable[[Tensor, Any], Tensor]) -> Dynamics:
    return Dynamics(
        step=step,
        dim=dim,
        jacobian=slope,
        push=lambda states, tangents, drive: (step(states, drive), slope(states, drive) @ tangents),
    )
