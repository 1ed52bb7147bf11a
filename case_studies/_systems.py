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

from case_studies._flows import (
    chen,
    chua,
    halvorsen,
    lorenz63,
    lorenz96,
    lu,
    nose_hoover,
    rabinovich_fabrikant,
    random_rate_network,
    rossler,
    thomas,
)
from case_studies._maps import aubry_andre, cat_map, chialvo_rulkov_chain, henon, ikeda, logistic, standard_map
from hooks.dynamics import Dynamics, digest
from hooks.errors import InputError

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
