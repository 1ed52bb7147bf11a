"""Textbook systems with the exponents that are known of them: ``SYSTEMS["Lorenz63"].make(rho=30.0)``.

Flows run under RK4 (``hooks.families.flow``) with their variational equation, so exponents are per unit of time; maps are per
step. Exact values are closed forms. Computed ones were measured once elsewhere, with the standard error given, and the
tolerance is three of them; printed ones carry the spread that such a run allows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hooks.dynamics import Dynamics, digest
from hooks.errors import InputError
from hooks.families import flow

TABLE = "Sprott's table of Lyapunov exponents of common systems"


@dataclass(frozen=True)
class Reference:
    """Leading exponents, or the sum of all, at the system's parameters with these ones changed.

    ``tolerance`` bounds the reference's own error; 0 for a closed form.
    """

    quantity: Literal["exponents", "sum"]
    values: tuple[float, ...]
    tolerance: float
    source: str
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class System:
    """A named map with parameters, a start in its basin and what is known of its exponents.

    ``start`` gives one for a state of this many coordinates.
    """

    name: str
    rule: Callable[..., Dynamics]
    start: Callable[[int], Sequence[float]]
    references: tuple[Reference, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and default values."""
        return {name: given.default for name, given in inspect.signature(self.rule).parameters.items()}

    def make(self, **parameters: Any) -> Dynamics:
        """The map at these parameters. Raises InputError for a name that is none of them."""
        chosen = self.parameters
        for unknown in parameters.keys() - chosen.keys():
            raise InputError(f"{self.name} has no parameter {unknown!r}; it has {', '.join(chosen)}")
        chosen.update(parameters)
        return replace(self.rule(**chosen), name=self.name, fingerprint=digest(self.name, *chosen.items()))


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


def logistic(r: float = 4.0) -> Dynamics:
    """x' = r x (1 - x)."""
    return _map(1, lambda x, _: r * x * (1 - x), lambda x, _: (r * (1 - 2 * x))[:, :, None])


def henon(a: float = 1.4, b: float = 0.3) -> Dynamics:
    """x' = 1 - a x^2 + y, y' = b x."""

    def step(states: Tensor, _: Any) -> Tensor:
        x, y = states.unbind(1)
        return torch.stack([1 - a * x * x + y, b * x], 1)

    return _map(2, step, lambda states, _: _matrix(states, [[-2 * a * states[:, 0], 1.0], [b, 0.0]]))


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
        return _matrix(
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
        return _matrix(states, [[1 + bend, 1.0], [bend, 1.0]])

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
        return _matrix(states, [[onsite, -1.0, by_theta], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

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
    coupling is this file's, and need not be that of the chain in arXiv 2405.05675; no exponents are quoted from there.
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
        jacobian=lambda states, _: _matrix(states, slope(*states.unbind(1))),
    )


def _matrix(states: Tensor, rows: list[list[Any]]) -> Tensor:
    """(batch, rows, columns) from entries that are numbers or (batch,) tensors."""
    entries = [
        entry if isinstance(entry, Tensor) else torch.full_like(states[:, 0], entry) for row in rows for entry in row
    ]
    return torch.stack(entries, 1).reshape(len(states), len(rows), len(rows[0]))


def _at(*coordinates: float) -> Callable[[int], Sequence[float]]:
    return lambda dim: coordinates


def _uneven(mean: float) -> Callable[[int], Sequence[float]]:
    return lambda dim: [mean + math.sin(1.0 + site * site) for site in range(dim)]


WOLF = {"sigma": 16.0, "rho": 45.92, "beta": 4.0}  # Physica D 16, 1985
GOLDEN = math.log((3 + math.sqrt(5)) / 2)
SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        System("Lorenz63", lorenz63, _at(1.0, 2.0, 20.0), (
            Reference("sum", (-41 / 3,), 0.0, "divergence -(sigma + 1 + beta)"),
            Reference("exponents", (0.9056, 0.0, -14.5723), 0.004, f"{TABLE}; computed over T = 2e4: 0.90569 +- 0.00135"),
            Reference("sum", (-21.0,), 0.0, "divergence -(sigma + 1 + beta)", WOLF),
            Reference("exponents", (1.50, 0.0), 0.01,
                      f"{TABLE} (2.16 bits); the third exponent printed beside them, -22.46, breaks the sum by 0.04", WOLF),
        )),
        System("Rossler", rossler, _at(1.0, 1.0, 0.0), (
            Reference("exponents", (0.0714, 0.0, -5.3943), 0.004, f"{TABLE}; computed: 0.0712 +- 0.00125, -5.395"),
        )),
        System("Chen", chen, _at(1.0, 2.0, 20.0), (
            Reference("sum", (-10.0,), 0.0, "divergence c - a - b"),
            Reference("exponents", (2.0232, 0.0, -12.0227), 0.02, "printed by the lyapunov-spectrum site, without an error"),
        )),
        System("Lu", lu, _at(10.0, 10.0, 20.0), (Reference("sum", (-21.0,), 0.0, "divergence c - a - b"),)),
        System("Chua", chua, _at(1.1, -0.1, -0.8), ()),
        System("Thomas", thomas, _at(2.2, 2.4, 3.2), (Reference("sum", (-5.55,), 0.0, "divergence -3 a"),)),
        System("Halvorsen", halvorsen, _at(-8.7, -2.5, 0.1), (Reference("sum", (-4.2,), 0.0, "divergence -3 a"),)),
        System("Nose-Hoover", nose_hoover, _at(0.0, 5.0, 0.0), ()),
        System("Rabinovich-Fabrikant", rabinovich_fabrikant, _at(-1.8, 0.8, 0.2), (
            Reference("sum", (-0.46,), 0.0, "divergence 2 (gamma - a)"),
        )),
        System("Lorenz96", lorenz96, _uneven(8.0), (
            Reference("sum", (-40.0,), 0.0, "divergence -sites"),
            Reference("exponents", (1.726,), 0.042, "computed over T = 1500: +- 0.014"),
            Reference("exponents", (1.204, 0.0, -1.581, -3.623), 0.06, "computed: +- 0.02", {"sites": 4, "forcing": 20.0}),
        )),
        System("random rate network", random_rate_network, _uneven(0.0), (
            Reference("sum", (-100.0,), 0.0, "divergence -units, for J_ii = 0"),
        )),
        System("logistic", logistic, _at(0.3), (
            Reference("exponents", (math.log(2),), 0.0, "conjugate to the tent at r = 4"),
        )),
        System("Henon", henon, _at(0.1, 0.1), (
            Reference("sum", (math.log(0.3),), 0.0, "ln |det| = ln b"),
            Reference("exponents", (0.41922, -1.62319), 0.0005, f"{TABLE}; computed: 0.41927 +- 0.00017"),
        )),
        System("Ikeda", ikeda, _at(0.1, 0.1), (
            Reference("sum", (2 * math.log(0.9),), 0.0, "ln |det| = 2 ln u"),
            Reference("exponents", (0.50736, -0.71808), 0.0008, "computed: +- 0.00027"),
        )),
        System("standard map", standard_map, _at(3.0, 1.0), (
            Reference("sum", (0.0,), 0.0, "det 1"),
            Reference("exponents", (1.1360, -1.1360), 0.0018, "computed at kick 6 from the chaotic sea: +- 0.0006"),
        )),
        System("cat map", cat_map, _at(0.1, 0.2), (
            Reference("sum", (0.0,), 0.0, "det 1"),
            Reference("exponents", (GOLDEN, -GOLDEN), 0.0, "eigenvalues (3 +- sqrt 5) / 2"),
        )),
        System("Aubry-Andre", aubry_andre, _at(0.0, 0.0, 0.1), (
            Reference("sum", (0.0,), 0.0, "det 1"),
            Reference("exponents", (math.log(2), 0.0, -math.log(2)), 0.0, "ln strength, at an energy of the spectrum"),
        )),
        System("Chialvo-Rulkov chain", chialvo_rulkov_chain, _uneven(1.0), ()),
    )
}  # fmt: skip
