"""Any flow of the database dysts by name as a map: ``dysts_system("Halvorsen")``. An extra: ``pip install dysts``.

Not a family: a family reads a network, and this reads a database of equations, as the case studies need it. The velocities are
taken as text out of the installed package and run on batches of tensors, so neither numba nor gluonts, which importing the
package would draw in, is needed; parameters, start and step come from its data file. Its exponents are not read: see
``chaotic_systems``.

Source: Gilpin, NeurIPS 2021 datasets track (dysts 0.96, Apache-2.0).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import flow
from hooks.tangent import push


class _Elementwise:
    """numpy's functions by name; on tensors, torch's of the same name."""

    def heaviside(self, x: Any, at_zero: float) -> Any:  # torch's own has no forward derivative
        if not isinstance(x, Tensor):
            return np.heaviside(x, at_zero)
        return (x > 0).to(x) + at_zero * (x == 0).to(x)

    def __getattr__(self, name: str) -> Any:
        plain, batched = getattr(np, name), getattr(torch, name, None)
        if not callable(plain) or batched is None:
            return plain

        def either(*given: Any, **options: Any) -> Any:
            if not any(isinstance(value, Tensor) for value in given):
                return plain(*given, **options)
            if isinstance(plain, np.ufunc):
                given = tuple(torch.as_tensor(value, dtype=torch.float64) for value in given)
            return batched(*given, **options)

        return either


class _System:
    """What the package's classes derive from here: parameters as attributes, coordinates (dim, batch) to velocities."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        vars(self).update(parameters)
        self.given = [parameters[key] for key in sorted(parameters)]

    def rhs(self, coordinates: Tensor, time: float) -> Any:
        return self._rhs(*coordinates, time, *self.given)  # type: ignore[attr-defined]


def dysts_system(name: str, *, dt: float | None = None, **parameters: float) -> tuple[Dynamics, tuple[float, ...]]:
    """A flow of the database under RK4, and its stored start.

    Parameters
    ----------
    name
        The class in ``dysts.flows``: "Lorenz", "Halvorsen", ...
    dt
        Time of a step; a 256th of the stored dominant period when left out. Exponents of the map are per unit of time whatever
        it is, and one run at half of it shows whether it is short enough.
    parameters
        In place of the stored ones.

    Returns
    -------
    dynamics, start
        The slope is by autograd. A phase coordinate of a forced system grows without end, as it does there.

    Raises
    ------
    InputError
        When dysts is not installed or has no flow of this name; for a parameter that the flow does not have; for a delay
        system, whose state is a function; and for one whose velocities read the time or cannot be run on a batch (of the 129
        flows in 0.96 without delay, 6: BeerRNN, BelousovZhabotinsky, BickleyJet, InteriorSquirmer, MacArthur, Torus).
    """
    try:
        package = files("dysts")
    except ModuleNotFoundError as error:
        raise InputError(
            "dysts is not installed: pip install dysts (its numba and gluonts are not needed here)"
        ) from error
    table = json.loads(package.joinpath("data/chaotic_attractors.json").read_text(encoding="utf-8"))
    if name not in table:
        raise InputError(f"dysts has no flow {name!r}; it has {', '.join(sorted(table))}")
    stored = table[name]
    if stored["delay"]:
        raise InputError(
            f"{name} is a delay system: its state is a function, not {stored['embedding_dimension']} numbers"
        )
    chosen = dict(stored["parameters"])
    for unknown in parameters.keys() - chosen.keys():
        raise InputError(f"{name} has no parameter {unknown!r}; it has {', '.join(sorted(chosen)) or 'none'}")
    chosen.update(parameters)
    given = {
        key: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for key, value in chosen.items()
    }
    system = _classes(package.joinpath("flows.py").read_text(encoding="utf-8"))[name](given)
    start = tuple(map(float, stored["initial_conditions"]))

    def velocity(states: Tensor, _: Any) -> Tensor:
        parts = system.rhs(states.T, torch.nan)  # the time is NaN, so that a field that reads it shows
        return torch.stack([torch.as_tensor(part, dtype=states.dtype).expand(len(states)) for part in parts], 1)

    trial = torch.tensor([start], dtype=torch.float64) * torch.tensor([[1.0], [1.01], [0.99]], dtype=torch.float64)
    try:
        tried, alone = velocity(trial, None), torch.cat([velocity(state[None], None) for state in trial])
        dynamics = flow(velocity, len(start), dt=dt or stored["period"] / 256, name=name)
        push(dynamics, trial, torch.ones(3, len(start), 2, dtype=torch.float64))
    except Exception as error:  # the package's code may raise anything
        raise InputError(
            f"the velocities of {name} cannot be run on a batch: {' '.join(str(error).split())[:200]}"
        ) from error
    if not torch.isfinite(tried).all() or not torch.allclose(tried, alone, rtol=1e-12, atol=0):
        raise InputError(
            f"the velocities of {name} are not finite at its start, read the time, or mix the rows of a batch"
        )
    return dynamics, start


def _classes(source: str) -> dict[str, Any]:
    """The classes of ``flows.py``, uncompiled, their arithmetic open to tensors."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    space: dict[str, Any] = {
        "np": _Elementwise(),
        "DynSys": _System,
        "DynSysDelay": _System,
        "staticjit": staticmethod,
    }
    exec(compile(tree, "dysts/flows.py", "exec"), space)
    return space
