"""Textbook flows under RK4 with their variational equation; what is known of them: ``_systems.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import flow


def lorenz63(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3, dt: float = 0.01) -> Dynamics:
    """x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z."""
    return _in_space(
        lambda x, y, z: (sigma * (y - x), x * (rho - z) - y, x * y - beta * z),
        lambda x, y, z: [[-sigma, sigma, 0.0], [rho - z, -1.0, -x], [y, x, -beta]],
        dt,
    )


def rossler(a: float = 0.2, b: float = 0.2, c: float = 5.7, dt: float = 0.02) -> Dynamics:
    """x' = -y - z, y' = x + a y, z' = b + z (x - c)."""
    return _in_space(
        lambda x, y, z: (-y - z, x + a * y, b + z * (x - c)),
        lambda x, y, z: [[0.0, -1.0, -1.0], [1.0, a, 0.0], [z, 0.0, x - c]],
        dt,
    )


def chen(a: float = 35.0, b: float = 3.0, c: float = 28.0, dt: float = 0.004) -> Dynamics:
    """x' = a (y - x), y' = (c - a) x - x z + c y, z' = x y - b z (Chen, Ueta, Int. J. Bifurcation Chaos 9, 1999)."""
    return _in_space(
        lambda x, y, z: (a * (y - x), (c - a) * x - x * z + c * y, x * y - b * z),
        lambda x, y, z: [[-a, a, 0.0], [c - a - z, c, -x], [y, x, -b]],
        dt,
    )


def lu(a: float = 36.0, b: float = 3.0, c: float = 18.0, dt: float = 0.005) -> Dynamics:
    """x' = a (y - x), y' = c y - x z, z' = x y - b z (Lu, Chen, Int. J. Bifurcation Chaos 12, 2002)."""
    return _in_space(
        lambda x, y, z: (a * (y - x), c * y - x * z, x * y - b * z),
        lambda x, y, z: [[-a, a, 0.0], [-z, c, -x], [y, x, -b]],
        dt,
    )


def chua(alpha: float = 15.6, beta: float = 28.0, m0: float = -8 / 7, m1: float = -5 / 7, dt: float = 0.02) -> Dynamics:
    """x' = alpha (y - x - f(x)), y' = x - y + z, z' = -beta y, f of slope m0 within |x| < 1 and m1 outside.

    Matsumoto, IEEE Trans. Circuits Syst. 31, 1984; the double scroll. The slope jumps at |x| = 1, so a Runge-Kutta step across
    it is of first order in what it gets wrong.
    """

    def resistor(x: Tensor) -> Tensor:
        return m1 * x + 0.5 * (m0 - m1) * ((x + 1).abs() - (x - 1).abs())

    def bend(x: Tensor) -> Tensor:
        return m1 + (m0 - m1) * (x.abs() < 1).to(x)

    return _in_space(
        lambda x, y, z: (alpha * (y - x - resistor(x)), x - y + z, -beta * y),
        lambda x, y, z: [[-alpha * (1 + bend(x)), alpha, 0.0], [1.0, -1.0, 1.0], [0.0, -beta, 0.0]],
        dt,
    )


def thomas(a: float = 1.85, b: float = 10.0, dt: float = 0.02) -> Dynamics:
    """x' = b sin y - a x and cyclically (Thomas, Int. J. Bifurcation Chaos 9, 1999)."""
    return _in_space(
        lambda x, y, z: (b * y.sin() - a * x, b * z.sin() - a * y, b * x.sin() - a * z),
        lambda x, y, z: [[-a, b * y.cos(), 0.0], [0.0, -a, b * z.cos()], [b * x.cos(), 0.0, -a]],
        dt,
    )


def halvorsen(a: float = 1.4, b: float = 4.0, dt: float = 0.01) -> Dynamics:
    """x' = -a x - b y - b z - y^2 and cyclically (Sprott, Chaos and Time-Series Analysis, 2003, section 4.8)."""
    return _in_space(
        lambda x, y, z: (-a * x - b * (y + z) - y * y, -a * y - b * (z + x) - z * z, -a * z - b * (x + y) - x * x),
        lambda x, y, z: [[-a, -b - 2 * y, -b], [-b, -a, -b - 2 * z], [-b - 2 * x, -b, -a]],
        dt,
    )


def nose_hoover(a: float = 1.0, dt: float = 0.05) -> Dynamics:
    """x' = y, y' = y z - x, z' = a - y^2: an oscillator with a thermostat (Hoover, Phys. Rev. A 31, 1985).

    At a = 1 it is case A of Sprott, Phys. Rev. E 50, 1994. It is reversible under (x, y, z, t) -> (x, -y, -z, -t), so exponents
    of a sea that is its own mirror image come in pairs of opposite sign and sum to 0, though the divergence z is not constant.
    """
    return _in_space(
        lambda x, y, z: (y, y * z - x, a - y * y),
        lambda x, y, z: [[0.0, 1.0, 0.0], [-1.0, z, y], [0.0, -2 * y, 0.0]],
        dt,
    )


def rabinovich_fabrikant(a: float = 1.1, gamma: float = 0.87, dt: float = 0.01) -> Dynamics:
    """x' = y (z - 1 + x^2) + gamma x, y' = x (3 z + 1 - x^2) + gamma y, z' = -2 z (a + x y) (Sov. Phys. JETP 50, 1979)."""
    return _in_space(
        lambda x, y, z: (y * (z - 1 + x * x) + gamma * x, x * (3 * z + 1 - x * x) + gamma * y, -2 * z * (a + x * y)),
        lambda x, y, z: [
            [2 * x * y + gamma, z - 1 + x * x, y],
            [3 * z + 1 - 3 * x * x, gamma, 3 * x],
            [-2 * y * z, -2 * x * z, -2 * (a + x * y)],
        ],
        dt,
    )


def duffing(damping: float = 0.5, dt: float = 0.25, substeps: int = 10) -> Dynamics:
    """x' = v, v' = -damping v + x - x^3: wells at x = +-1 with slopes of trace -damping and determinant 2, a saddle at 0."""

    def velocity(states: Tensor, _: Any) -> Tensor:
        x, v = states.unbind(1)
        return torch.stack([v, -damping * v + x - x**3], 1)

    def slope(states: Tensor, _: Any) -> Tensor:
        return matrix(states, [[0.0, 1.0], [1 - 3 * states[:, 0] ** 2, -damping]])

    return flow(velocity, 2, dt=dt, jacobian=slope, substeps=substeps, name="Duffing")


def lorenz96(sites: int = 40, forcing: float = 8.0, dt: float = 0.02) -> Dynamics:
    """x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + forcing on a ring of at least four sites."""
    if sites < 4:
        raise InputError(f"Lorenz96 couples four neighbours, but {sites} sites came")
    one = torch.eye(sites, dtype=torch.float64)
    outer, inner = one.roll(1, 1) - one.roll(-2, 1), one.roll(-1, 1)

    def velocity(x: Tensor, _: Any) -> Tensor:
        return (x.roll(-1, 1) - x.roll(2, 1)) * x.roll(1, 1) - x + forcing

    def slope(x: Tensor, _: Any) -> Tensor:
        return x.roll(1, 1)[:, :, None] * outer + (x.roll(-1, 1) - x.roll(2, 1))[:, :, None] * inner - one

    return flow(velocity, sites, dt=dt, jacobian=slope)


def random_rate_network(units: int = 100, gain: float = 3.0, seed: int = 0, dt: float = 0.1) -> Dynamics:
    """x' = -x + gain J tanh(x), J_ij of variance 1 / units and J_ii = 0 (Sompolinsky, Crisanti, Sommers, PRL 61, 1988).

    Chaotic above gain 1 as the number of units grows; below, everything decays to 0. Without self-coupling the divergence is
    -units everywhere.
    """
    W = gain * couplings(units, seed)
    leak = torch.eye(units, dtype=torch.float64)

    def velocity(x: Tensor, _: Any) -> Tensor:
        return torch.tanh(x) @ W.T - x

    def slope(x: Tensor, _: Any) -> Tensor:
        return W * (1 - torch.tanh(x) ** 2)[:, None, :] - leak

    return flow(velocity, units, dt=dt, jacobian=slope)


def couplings(units: int, seed: int) -> Tensor:
    """(units, units) Gaussian entries of variance 1 / units, none on the diagonal."""
    J = torch.randn(units, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return J.fill_diagonal_(0.0) / math.sqrt(units)


def _in_space(
    velocity: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]],
    slope: Callable[[Tensor, Tensor, Tensor], list[list[Any]]],
    dt: float,
) -> Dynamics:
    """The flow of a field of three coordinates, given with its slope's rows."""
    return flow(
        lambda states, _: torch.stack(tuple(velocity(*states.unbind(1))), 1),
        3,
        dt=dt,
        jacobian=lambda states, _: matrix(states, slope(*states.unbind(1))),
    )


def matrix(states: Tensor, rows: list[list[Any]]) -> Tensor:
    """(batch, rows, columns) from entries that are numbers or (batch,) tensors."""
    entries = [
        entry if isinstance(entry, Tensor) else torch.full_like(states[:, 0], entry) for row in rows for entry in row
    ]
    return torch.stack(entries, 1).reshape(len(states), len(rows), len(rows[0]))
