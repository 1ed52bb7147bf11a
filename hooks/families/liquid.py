"""Liquid cells as maps: one step is the cell's own update over an elapsed time ``dt``, the input held meanwhile.

State: the units' potentials. Drive: the input vector. The steps run on tensors, on tangents and on enclosures alike.

Source: Hasani, Lechner, Amini, Rus and Grosu, Liquid time-constant networks, AAAI 2021: dx/dt = -(1/tau + f) x + f A, the fused
semi-implicit solver, and theorems 1 and 2 (bounds of the time constants and of the state). Synapses as in ``ncps``: sigmoids
of the sending unit. Closed-form cells: see ``closed_form``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from hooks.dynamics import Box, Dynamics, TensorLike
from hooks.errors import InputError
from hooks.families._parts import named_digest
from hooks.families.closed_form import closed_form

Opening = Callable[[Any], tuple[Any, Any]]
SYNAPSE = ("w", "mu", "sigma", "erev")
UNIT = ("cm", "gleak", "vleak")
LTC = {*SYNAPSE, *(f"sensory_{name}" for name in SYNAPSE), *UNIT}


@dataclass(frozen=True, eq=False)
class LiquidTimeConstant:
    """A liquid time-constant network, cm dv/dt = gleak (vleak - v) + sum_i w_i s_i (erev_i - v), under the fused solver.

    The synapse from i to j is open by s_ij = sigmoid(sigma_ij (v_i - mu_ij)). In the paper's terms tau is cm / gleak, f is
    sum_i w_i s_i / cm, and A the mean of the reversals weighted by w_i s_i (there about vleak = 0). The ``unfolds`` substeps of
    width h are v <- (cm v / h + gleak vleak + sum w s erev) / (cm / h + gleak + sum w s + epsilon).

    Parameters
    ----------
    w, mu, sigma, erev : (units, units)
        From the row's unit to the column's; a w of 0 is no synapse.
    sensory_w, sensory_mu, sensory_sigma, sensory_erev : (inputs, units)
        The same from the inputs, each of which is first scaled by ``input_w`` and shifted by ``input_b``.
    cm, gleak, vleak : (units,)
    input_w, input_b : (inputs,)
    output_w, output_b : (outputs,)
        The first units are read out, scaled and shifted.
    unfolds
        Substeps of one step.
    epsilon
        Added to the denominator.

    Raises
    ------
    InputError
        For shapes that do not fit one another.
    """

    w: Tensor
    mu: Tensor
    sigma: Tensor
    erev: Tensor
    sensory_w: Tensor
    sensory_mu: Tensor
    sensory_sigma: Tensor
    sensory_erev: Tensor
    cm: Tensor
    gleak: Tensor
    vleak: Tensor
    input_w: Tensor | None = None
    input_b: Tensor | None = None
    output_w: Tensor | None = None
    output_b: Tensor | None = None
    unfolds: int = 6
    epsilon: float | Tensor = 1e-8

    def __post_init__(self) -> None:
        inputs, units = self.sensory_w.shape if self.sensory_w.ndim == 2 else (0, 0)
        kinds = dict.fromkeys(SYNAPSE, (units, units)) | dict.fromkeys(UNIT, (units,))
        kinds |= {f"sensory_{name}": (inputs, units) for name in SYNAPSE}
        kinds |= {"input_w": (inputs,), "input_b": (inputs,)}
        for name, shape in kinds.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise InputError(
                    f"{name} has shape {tuple(value.shape)}; {units} units and {inputs} inputs need {shape}"
                )
        if self.unfolds < 1:
            raise InputError(f"a step is made of at least one substep, but unfolds = {self.unfolds}")

    def dynamics(self, *, dt: float = 1.0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as a driven map over an elapsed time ``dt``; autonomous when it has no inputs.

        Its box (theorem 2) runs in each unit from the least to the largest of 0, vleak and the reversals that reach it; there
        is none when a weight is negative. Cost: one sigmoid a synapse and substep; memory units x synapses.

        Raises
        ------
        InputError
            When dt is not positive and finite.
        """
        if not 0 < dt < float("inf"):
            raise InputError(f"dt is a positive time, but {dt} came")
        own = self._tensors(dtype, device)
        within, entering = self._synapses(own)
        charge, epsilon = own["cm"] * (self.unfolds / dt), float(self.epsilon)
        still, pull = charge + own["gleak"] + epsilon, own["gleak"] * own["vleak"]

        def step(states: TensorLike, drive: Tensor | None) -> TensorLike:
            opened_in, pulled_in = entering(drive)
            for _ in range(self.unfolds):
                opened, pulled = within(states)
                states = (charge * states + pulled + (pull + pulled_in)) / (opened + (still + opened_in))
            return states

        def box(_: Tensor | None) -> Box | None:
            if any((own[name] < 0).any() for name in ("w", "sensory_w", "cm", "gleak")):
                return None
            reversals = [torch.where(own[f"{kind}w"] > 0, own[f"{kind}erev"], 0.0) for kind in ("", "sensory_")]
            ends = torch.cat([torch.zeros_like(own["vleak"])[None], own["vleak"][None], *reversals])
            return ends.amin(0), ends.amax(0)

        def readout(states: Tensor) -> Tensor:
            read = states[..., : len(own["output_w"])] * own["output_w"]
            return read if self.output_b is None else read + own["output_b"]

        return Dynamics(
            step=step,
            dim=len(self.cm),
            name=f"liquid time-constant network, {len(self.cm)} units",
            driven=len(self.sensory_w) > 0,
            inputs=len(self.sensory_w),
            dt=dt,
            dtype=dtype,
            device=device,
            readout=None if self.output_w is None else readout,
            box=box,
            fingerprint=named_digest(own, "LTC", self.unfolds, epsilon, dt),
            weights={
                "family": "liquid time constant",
                **{name: value for name, value in vars(self).items() if value is not None},
                "epsilon": torch.tensor(epsilon, dtype=torch.float64),
                "dt": torch.tensor(dt, dtype=torch.float64),
            },
        )

    def time_constants(self, states: Float[Tensor, "batch dim"], drive: Any = None) -> Float[Tensor, "batch dim"]:
        """tau / (1 + tau f) of each unit, in units of time: how fast it settles while all that reaches it is held.

        Where no weight is negative it lies between cm / (gleak + sum w) and cm / gleak (theorem 1).
        """
        own = self._tensors(states.dtype, str(states.device))
        within, entering = self._synapses(own)
        return own["cm"] / (own["gleak"] + within(states)[0] + entering(drive)[0])

    def _tensors(self, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
        own = {name: value for name, value in vars(self).items() if isinstance(value, Tensor) and name != "epsilon"}
        return {name: value.detach().to(dtype=dtype, device=device, copy=True) for name, value in own.items()}

    def _synapses(self, own: Mapping[str, Tensor]) -> tuple[Opening, Opening]:
        """(states -> (sum w s, sum w s erev) at each unit), and the same from the inputs."""
        inner, outer = _opening(own, ""), _opening(own, "sensory_")

        def entering(drive: Tensor | None) -> tuple[Any, Any]:
            if not len(self.sensory_w):
                return 0.0, 0.0
            assert drive is not None
            seen = drive if self.input_w is None else drive * own["input_w"]
            return outer(seen if self.input_b is None else seen + own["input_b"])

        return inner, entering


def liquid(cell: nn.Module, *, dt: float = 1.0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
    """A liquid cell of ``ncps.torch`` as a driven map: LTCCell, CfCCell or WiredCfCCell, or the LTC or CfC layer around one.

    Parameters
    ----------
    cell
        Any module with the cell's parameters and settings; ``ncps`` itself is not needed. It is never changed.
    dt
        Time that elapses in one step, the layer's ``timespans``; 1 is what the layer takes when none are given.

    Returns
    -------
    Dynamics
        Its readout is what the layer puts out.

    Raises
    ------
    InputError
        For a module that is none of these, a layer with mixed memory (an LSTM before the cell), or a dt that is not positive.
    """
    if not is_liquid(cell):
        raise InputError(f"{type(cell).__name__} is no liquid cell: it has neither an LTC's parameters nor a CfC's")
    if getattr(cell, "use_mixed", False):
        raise InputError(
            f"{type(cell).__name__} has mixed memory: its step is an LSTM's and then the cell's. Pass its rnn_cell for the "
            f"cell alone, or a module with a forward of (input, state) to hooks.families.stepped for both"
        )
    inner = _inner(cell)
    own = {name: value.detach().clone() for name, value in inner.state_dict().items()}
    if own.keys() >= LTC:
        return _time_constant(inner, own).dynamics(dt=dt, dtype=dtype, device=device)
    parts = [inner] if "ff1.weight" in own else list(inner.children())
    tensors: dict[str, Tensor] = {}
    for k, part in enumerate(parts):
        tensors |= {f"layers.{k}.{name}": value for name, value in _heads(part).items()}
    if isinstance(reads := getattr(cell, "fc", None), nn.Linear):
        tensors |= {f"readout.{name}": value.detach().clone() for name, value in reads.named_parameters()}
    activation = type(parts[0].backbone[1]).__name__ if parts[0].backbone else ""
    return closed_form(tensors, mode=parts[0].mode, activation=activation, dt=dt, dtype=dtype, device=device)


def is_liquid(module: nn.Module) -> bool:
    """Whether these are the parameters of an LTC or CfC cell, or of the layer around one."""
    names = {name for name, _ in _inner(module).named_parameters()}
    own = {name.partition(".")[2] if name.startswith("layer_") else name for name in names}
    return names >= LTC or ("ff1.weight" in own and bool({"time_a.weight", "w_tau"} & own))


def _inner(module: nn.Module) -> Any:
    """The cell itself."""
    return module.rnn_cell if hasattr(module, "use_mixed") and hasattr(module, "rnn_cell") else module


def _time_constant(cell: Any, own: dict[str, Tensor]) -> LiquidTimeConstant:
    """The cell with its masks and sign constraints taken into the weights."""
    if cell._implicit_param_constraints:
        own |= {name: softplus(own[name].double()) for name in ("w", "sensory_w", "cm", "gleak")}
    for kind in ("", "sensory_"):
        own[f"{kind}w"] = own[f"{kind}w"] * own.pop(f"{kind}sparsity_mask")
    if "output_w" not in own:
        own["output_w"] = torch.ones(cell.motor_size)
    return LiquidTimeConstant(**own, unfolds=cell._ode_unfolds, epsilon=cell._epsilon)


def _heads(cell: Any) -> dict[str, Tensor]:
    """Parameters of one closed-form cell, its mask taken into the weights and its common layers numbered."""
    own = {name: value.detach().clone() for name, value in cell.named_parameters() if not name.startswith("backbone.")}
    mask = own.pop("sparsity_mask", None)
    if mask is not None:
        own |= {name: own[name] * mask for name in ("ff1.weight", "ff2.weight") if name in own}
    common = [layer for layer in cell.backbone or () if isinstance(layer, nn.Linear)]
    for depth, layer in enumerate(common):
        own |= {f"backbone.{depth}.{name}": value.detach().clone() for name, value in layer.named_parameters()}
    return own


def _opening(own: Mapping[str, Tensor], kind: str) -> Opening:
    """What the synapses of a kind, each at its sender and its receiver, open and pull at every unit."""
    w, mu, sigma, erev = (own[f"{kind}{name}"] for name in SYNAPSE)
    sender, receiver = torch.nonzero(w, as_tuple=True)
    center, steepness = mu[sender, receiver], sigma[sender, receiver]
    strength = w.new_zeros(w.shape[1], len(sender))
    strength[receiver, torch.arange(len(sender), device=w.device)] = w[sender, receiver]
    pull = strength * erev[sender, receiver]

    def opening(potentials: TensorLike) -> tuple[TensorLike, TensorLike]:
        opened = torch.sigmoid(steepness * (potentials[..., sender] - center))
        return linear(opened, strength), linear(opened, pull)

    return opening
