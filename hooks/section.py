"""Return maps: a map that approximates a flow, seen only when its orbits cross a section.

Such a map has invariant circles rather than exact cycles; its periodic orbits are fixed points of the return map, which every
analysis takes like any other map. Takes a Dynamics and a hyperplane; costs a full turn of steps for each step of the return.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Dynamics, as_states, autonomous, digest


def return_map(dynamics: Dynamics, *, normal: Any, origin: Any, most: int = 10_000) -> Dynamics:
    """The first return to the section (x - origin) . normal = 0, crossed from below.

    Parameters
    ----------
    dynamics
        An autonomous map whose steps are short against its turns.
    normal, origin : (dim,)
        Of the section. ``normal`` points the way of the crossings that count.
    most
        Steps after which a state that has not crossed is given up: its next state is NaN.

    Returns
    -------
    Dynamics
        State (dim,) -> the next crossing, on the straight line between the two states around it, so to second order in the
        step. Its Jacobian, by autograd, has one eigenvalue 0 (off the section); its other eigenvalues are the Floquet
        multipliers of the orbit.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        When normal or origin is not ``dim`` wide.
    """
    dynamics = autonomous(dynamics, "return_map")
    (n,), (o,) = as_states(dynamics, normal), as_states(dynamics, origin)

    def step(states: Tensor, _: Any) -> Tensor:
        found = torch.full_like(states, float("nan"))
        rows = torch.arange(len(states), device=states.device)
        now = states
        height = (now - o) @ n
        for number in range(most):
            after = dynamics(now)
            above = (after - o) @ n
            # the first step leaves the section that the state lies on, so it never counts
            crossed = (height < 0) & (above >= 0) & torch.isfinite(above) if number else torch.zeros_like(rows).bool()
            if crossed.any():
                share = (height / (height - above).where(crossed, torch.ones_like(above)))[crossed, None]
                found = found.index_put((rows[crossed],), now[crossed] + share * (after - now)[crossed])
            on = ~crossed & torch.isfinite(above)
            if not on.any():
                break
            rows, now, height = rows[on], after[on], above[on]
        return found

    return replace(
        dynamics,
        fingerprint=f"{dynamics.fingerprint}|{digest(n, o, most)[:8]}" if dynamics.fingerprint else "",
        weights={}, step=step, name=f"{dynamics.name}, returns", clock="iteration", dt=1.0, flow=False,
        layers=(), jacobian=None, push=None, box=None
    )  # fmt: skip
