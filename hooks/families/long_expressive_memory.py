"""Long expressive memories as maps: two states a unit, each moving by a time step of its own towards what it is told.

z' = z + d (tanh(W_z y + V_z u + b_z) - z),    d = dt sigmoid(W_1 y + V_1 u + b_1),
y' = y + e (tanh(W_y z' + V_y u + b_y) - y),   e = dt sigmoid(W_2 y + V_2 u + b_2)

(Rusch, Mishra, Erichson and Mahoney, "Long Expressive Memory for Sequence Modeling", ICLR 2022, arXiv 2110.04744; written as in
the authors' code, tk-rusch/LEM): an explicit-implicit Euler step of an equation in which every unit has time constants that
depend on what it sees. State: z, then y, side by side. Drive: the input vector u.

Both are convex combinations where dt is at most 1, so that states in [-1, 1] stay there. Steps run on tensors, on tangents and
on enclosures alike; a step costs four products of (units, units).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from hooks.dynamics import Box, Dynamics, TensorLike
from hooks.errors import InputError
from hooks.families._parts import named_digest, times

PARTS = ("1", "2", "z", "y")  # z's time step, y's time step, what z moves to, what y moves to


@dataclass(frozen=True, eq=False)
class LongExpressiveMemory:
    """The weights of a long expressive memory; ``dynamics()`` is its map.

    Parameters
    ----------
    W_1, W_2, W_z, W_y : (units, units)
    V_1, V_2, V_z, V_y : (units, inputs)
    b_1, b_2, b_z, b_y : (units,)
    dt
        The largest time step, in (0, 1].
    W_out, b_out
        Linear readout of y, (outputs, units) and (outputs,).

    Raises
    ------
    InputError
        When the shapes do not fit one another, or dt lies outside (0, 1].
    """

    W_1: Tensor
    W_2: Tensor
    W_z: Tensor
    W_y: Tensor
    V_1: Tensor
    V_2: Tensor
    V_z: Tensor
    V_y: Tensor
    b_1: Tensor
    b_2: Tensor
    b_z: Tensor
    b_y: Tensor
    dt: float = 1.0
    W_out: Tensor | None = None
    b_out: Tensor | None = None

    def __post_init__(self) -> None:
        units = self.W_1.shape[0] if self.W_1.ndim else 1
        inputs = self.V_1.shape[-1] if self.V_1.ndim else 0
        outputs = 0 if self.W_out is None or not self.W_out.ndim else len(self.W_out)
        kinds: dict[str, tuple[int, ...]] = {"W_out": (outputs, units), "b_out": (outputs,)}
        for part in PARTS:
            kinds |= {f"W_{part}": (units, units), f"V_{part}": (units, inputs), f"b_{part}": (units,)}
        for name, shape in kinds.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise InputError(
                    f"{name} has shape {tuple(value.shape)}; {units} units and {inputs} inputs need {shape}"
                )
        if not 0 < self.dt <= 1:
            raise InputError(f"the largest time step dt lies in (0, 1], but {self.dt} came")

    @property
    def units(self) -> int:
        """Of z, and of y."""
        return len(self.W_1)

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as a driven map, dim = 2 units; autonomous when it has no inputs. Its box is [-1, 1]."""
        own = self._tensors(dtype, device)
        units, dt = self.units, self.dt

        def moved(
            states: TensorLike, drive: Tensor | None
        ) -> tuple[TensorLike, TensorLike, tuple[TensorLike, TensorLike, TensorLike, TensorLike]]:
            z, y = states[..., :units], states[..., units:]
            d, e = (dt * torch.sigmoid(_entering(own, part, y, drive)) for part in "12")
            towards_z = torch.tanh(_entering(own, "z", y, drive))
            z = z + d * (towards_z - z)
            towards_y = torch.tanh(_entering(own, "y", z, drive))
            return z, y + e * (towards_y - y), (d, e, towards_z, towards_y)

        def step(states: TensorLike, drive: Tensor | None) -> TensorLike:
            z, y, _ = moved(states, drive)
            return torch.cat([z, y], dim=-1)

        def push(states: Tensor, tangents: Tensor, drive: Tensor | None) -> tuple[Tensor, Tensor]:
            z, y = states[..., :units], states[..., units:]
            dz, dy = tangents[..., :units, :], tangents[..., units:, :]
            after_z, after_y, (d, e, towards_z, towards_y) = moved(states, drive)

            def along(
                of: str, old: Tensor, d_old: Tensor, rate: Tensor, towards: Tensor, told: tuple[str, Tensor]
            ) -> Tensor:
                """Tangents of old + rate (towards - old): ``of`` is the part of the rate, ``told`` that of towards."""
                d_rate = (rate * (1 - rate / dt))[..., None] * times(own[f"W_{of}"], dy)
                d_towards = (1 - towards * towards)[..., None] * times(own[f"W_{told[0]}"], told[1])
                return d_old + (towards - old)[..., None] * d_rate + rate[..., None] * (d_towards - d_old)

            dz = along("1", z, dz, d, towards_z, ("z", dy))
            dy = along("2", y, dy, e, towards_y, ("y", dz))
            return torch.cat([after_z, after_y], dim=-1), torch.cat([dz, dy], dim=-2)

        def jacobian(states: Tensor, drive: Tensor | None) -> Tensor:
            eye = torch.eye(2 * units, dtype=dtype, device=device)
            return push(states, eye.expand(len(states), -1, -1), drive)[1]

        def box(_: Tensor | None) -> Box:
            one = torch.ones(2 * units, dtype=dtype, device=device)
            return -one, one

        def readout(states: Tensor) -> Tensor:
            return linear(states[..., units:], own["W_out"], own.get("b_out"))

        return Dynamics(
            step=step,
            dim=2 * units,
            name=f"long expressive memory, {units} units",
            driven=self.V_1.shape[1] > 0,
            inputs=self.V_1.shape[1],
            dtype=dtype,
            device=device,
            jacobian=jacobian,
            push=push,
            readout=None if self.W_out is None else readout,
            box=box,
            fingerprint=named_digest(own, "LEM", dt),
            weights={
                "family": "long expressive memory",
                **own,
                "dt": torch.tensor(dt, dtype=torch.float64),
            },
        )

    def time_steps(self, states: Float[Tensor, "batch dim"], drive: Tensor | None = None) -> Float[Tensor, "batch dim"]:
        """d of every z, then e of every y, in (0, dt): the share of a coordinate that one step replaces."""
        own = self._tensors(states.dtype, str(states.device))
        y = states[..., self.units :]
        return self.dt * torch.sigmoid(torch.cat([_entering(own, part, y, drive) for part in "12"], dim=-1))

    def growth_bound(self) -> float:
        """The largest that the row-sum norm of the Jacobian can be in the box, so that w steps stretch by at most its power w.

        A row of the Jacobian of z' sums to at most 1 - d + d |W_z| + dt |W_1| / 2, |W| the row's sum of moduli, since
        |tanh - z| <= 2 and a sigmoid's slope is at most 1/4; one of y' to at most 1 - e + e |W_y| |z'| + dt |W_2| / 2, |z'| the
        largest of the former. Each is largest at d, e = 0 or dt. Our derivation. The bound is 1 + c dt with c nearly constant,
        so that over n steps of dt = 1 / n gradients stay bounded by e^c.
        """
        sums = {part: getattr(self, f"W_{part}").detach().double().abs().sum(1) for part in PARTS}
        of_z = 1 + self.dt * (sums["1"] / 2 + (sums["z"] - 1).clamp(min=0)).max()
        of_y = 1 + self.dt * (sums["2"] / 2 + (sums["y"] * of_z - 1).clamp(min=0)).max()
        return float(torch.maximum(of_z, of_y))

    def _tensors(self, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
        own = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return {name: value.detach().to(dtype=dtype, device=device, copy=True) for name, value in own.items()}


def long_expressive_memory(cell: nn.Module, *, readout: nn.Linear | None = None) -> LongExpressiveMemory:
    """The weights of a cell laid out as in the authors' code; it is read, never changed.

    Parameters
    ----------
    cell
        With a number dt and linear layers inp2hid (stacked: y's time step, z's time step, what y moves to, what z moves to),
        hid2hid (y's time step, z's time step, what z moves to) and transform_z (what y moves to).
    readout
        Linear map of y.

    Raises
    ------
    InputError
        For a module without these layers.
    """
    missing = [name for name in ("inp2hid", "hid2hid", "transform_z", "dt") if not hasattr(cell, name)]
    if missing:
        raise InputError(
            f"{type(cell).__name__} has no {', '.join(missing)}: a cell of the authors' layout has inp2hid, hid2hid, "
            f"transform_z and dt; any other enters as LongExpressiveMemory(W_1=..., dt=...)"
        )
    own: Any = cell
    (V_2, V_1, V_y, V_z), (c_2, c_1, c_y, c_z) = (w.detach().chunk(4) for w in (own.inp2hid.weight, own.inp2hid.bias))
    (W_2, W_1, W_z), (a_2, a_1, a_z) = (w.detach().chunk(3) for w in (own.hid2hid.weight, own.hid2hid.bias))
    inner = own.transform_z
    return LongExpressiveMemory(
        W_1=W_1, W_2=W_2, W_z=W_z, W_y=inner.weight.detach(), V_1=V_1, V_2=V_2, V_z=V_z, V_y=V_y,
        b_1=c_1 + a_1, b_2=c_2 + a_2, b_z=c_z + a_z, b_y=c_y + inner.bias.detach(), dt=float(own.dt),
        W_out=None if readout is None else readout.weight.detach(),
        b_out=None if readout is None or readout.bias is None else readout.bias.detach(),
    )  # fmt: skip


def _entering(own: dict[str, Tensor], part: str, within: TensorLike, drive: Tensor | None) -> TensorLike:
    """W x + V u + b of a part."""
    before = linear(within, own[f"W_{part}"], own[f"b_{part}"])
    return before if drive is None or not own[f"V_{part}"].shape[1] else before + linear(drive, own[f"V_{part}"])
