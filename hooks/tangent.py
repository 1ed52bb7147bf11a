"""How nearby states part in one step: Jacobians and carried tangents. The only file that touches autograd.

A family's hand-written ``jacobian`` and ``push`` are used where they exist; otherwise the Jacobian is one batched
reverse pass, ``push`` is forward mode and ``pull`` reverse mode, which never form it (k directions cost k passes). A run of
many steps takes ``pushed``, which compiles the push where that pays.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError

# Numbers in the tangents of one forward pass, which holds about nine arrays of them: 10 MB
AT_ONCE = 1 << 17

# What an eager push spends that a compiled one does not, in seconds: rounded from Lorenz's and GRU's steps on one CPU core.
# They are constants, not timed, so that a run makes the same choice, and with it the same bits, every time.
PER_CALL = 2e-6  # of each operation
PER_DUAL_CALL = 8e-6  # of each operation under torch.func's forward mode
PER_NUMBER = 1e-9  # of each number written to memory between operations
PER_STEP = -6e-5  # back again: entering compiled code
COMPILING = 10.0  # seconds that compilation may take: 2 to 14 when tried


def jacobian(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], drive: Any = None
) -> Float[Tensor, "batch dim dim"]:
    """Slope of the step with respect to the state, [b, i, j] = d next_i / d state_j.

    Cost: one forward and ``dim`` backward passes in a batch; memory batch x dim x dim.
    """
    if dynamics.jacobian is not None:
        with torch.no_grad():
            return dynamics.jacobian(states, drive)
    return _reverse(lambda inputs: dynamics(inputs, drive), states, dynamics.dim)


def drive_jacobian(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], drive: Float[Tensor, "*batch inputs"]
) -> Float[Tensor, "batch dim inputs"]:
    """Slope of the step with respect to the drive, [b, i, j] = d next_i / d drive_j.

    ``drive`` is (inputs,) for the whole batch or (batch, inputs). Raises DrivenError for a map without one.
    """
    if not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, so it has no drive Jacobian")
    rows = drive.expand(len(states), dynamics.inputs)
    return _reverse(lambda inputs: dynamics(states, inputs), rows, dynamics.dim)


def readout_jacobian(dynamics: Dynamics, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch outputs dim"]:
    """Slope of the readout with respect to the state; no outputs when the map has no readout."""
    readout = dynamics.readout
    if readout is None or not len(states):
        return states.new_zeros(len(states), 0, dynamics.dim)
    with torch.no_grad():
        outputs = readout(states[:1]).shape[1]
    return _reverse(readout, states, outputs)


def push(
    dynamics: Dynamics,
    states: Float[Tensor, "batch dim"],
    tangents: Float[Tensor, "rows units directions"],
    drive: Any = None,
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim directions"]]:
    """The next states, and the tangents carried there by the Jacobian, without forming it.

    Forward mode is not implemented for torch's fused attention on CPU, so attention runs in its "math" form. A step that draws
    random numbers draws the same ones for every direction.

    Raises
    ------
    InputError
        When the first two axes of the tangents are not those of the states.
    DrivenError
        When the map takes a drive and none came.
    """
    if tangents.shape[:2] != states.shape:
        raise InputError(
            f"tangents of {tuple(states.shape)} states have those two axes and one for directions, "
            f"but {tuple(tangents.shape)} came"
        )
    if dynamics.push is not None:
        with torch.no_grad():
            return dynamics.push(states, tangents, drive)

    batch, dim, directions = tangents.shape
    width = max(1, AT_ONCE // max(1, batch * dim))
    step = partial(dynamics, drive=drive)
    if directions <= width:
        return _forward_mode(step, states, tangents)
    after, carried = states, torch.empty(tangents.shape, dtype=tangents.dtype, device=tangents.device)
    for first in range(0, directions, width):
        last = first + width
        with _drawing_again(states, last < directions):
            after, carried[:, :, first:last] = _forward_mode(step, states, tangents[:, :, first:last])
    return after, carried


def _forward_mode(step: Callable[[Tensor], Tensor], states: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    states = states.contiguous()  # rows that share their memory, as a constant map may give, have no dual

    def along(tangent: Tensor) -> Any:
        after, carried = torch.func.jvp(step, (states,), (tangent,))  # type: ignore[misc]
        # a step that ignores its state carries no axis of directions
        return after, torch.zeros_like(tangent[:, :1]) + carried

    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        # the next states do not depend on the direction, so they come out unbatched
        directions: Any = torch.func.vmap(along, in_dims=2, out_dims=(None, 2), randomness="same")  # type: ignore[arg-type]
        after, carried = directions(tangents)
    return after, carried


def pull(
    dynamics: Dynamics,
    states: Float[Tensor, "batch dim"],
    cotangents: Float[Tensor, "rows units directions"],
    drive: Any = None,
) -> Float[Tensor, "batch dim directions"]:
    """Cotangents of the next states carried back by the transposed Jacobian, without forming it: <u, push(v)> = <pull(u), v>.

    A hand-written ``jacobian`` is used where there is one; else one reverse pass of the step, its directions in a batch.

    Raises
    ------
    InputError
        When the first two axes of the cotangents are not those of the states.
    DrivenError
        When the map takes a drive and none came.
    """
    if cotangents.shape[:2] != states.shape:
        raise InputError(
            f"cotangents of {tuple(states.shape)} states have those two axes and one for directions, "
            f"but {tuple(cotangents.shape)} came"
        )
    if dynamics.jacobian is not None:
        return jacobian(dynamics, states, drive).mT @ cotangents
    return _pulled(lambda inputs: dynamics(inputs, drive), states, cotangents)


def readout_push(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], tangents: Float[Tensor, "batch dim directions"]
) -> Float[Tensor, "batch outputs directions"]:
    """Tangents carried to the outputs by the readout's Jacobian, without forming it. InputError for a map without a readout."""
    readout, width = _readout(dynamics), max(1, AT_ONCE // max(1, states.numel()))
    return torch.cat([_forward_mode(readout, states, part)[1] for part in tangents.split(width, dim=2)], dim=2)


def readout_pull(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], cotangents: Float[Tensor, "batch outputs directions"]
) -> Float[Tensor, "batch dim directions"]:
    """Cotangents of the outputs carried back to the states. InputError for a map without a readout."""
    return _pulled(_readout(dynamics), states, cotangents)


def _readout(dynamics: Dynamics) -> Callable[[Tensor], Tensor]:
    if dynamics.readout is None:
        raise InputError(f"{dynamics.name!r} has no readout: give one where the map is made (readout=)")
    return dynamics.readout


def _drawing_again(states: Tensor, again: bool = True) -> Any:
    """What is drawn inside is drawn again outside."""
    return torch.random.fork_rng(devices=[states.device] if states.is_cuda else [], enabled=again)


@dataclass(frozen=True, eq=False)
class Pushed:
    """``push`` of one map for a run of many steps.

    Attributes
    ----------
    compiled
        Whether a compiled push serves states and tangents of the shapes, and drives of the kind, that ``pushed`` was given;
        others go to ``push``.
    note
        What was chosen and why, in one sentence.
    """

    dynamics: Dynamics
    compiled: bool
    note: str
    carry: Callable[..., tuple[Tensor, Tensor]] | None = None
    shapes: tuple[Any, ...] = ()

    def __call__(
        self, states: Float[Tensor, "batch dim"], tangents: Float[Tensor, "batch dim directions"], drive: Any = None
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim directions"]]:
        """What ``push`` gives, to rounding."""
        if self.carry is None or _shapes(states, tangents, drive) != self.shapes:
            return push(self.dynamics, states, tangents, drive)
        with torch.no_grad():
            return self.carry(states.contiguous(), tangents.contiguous(), *([] if drive is None else [drive]))


def pushed(
    dynamics: Dynamics,
    states: Float[Tensor, "batch dim"],
    tangents: Float[Tensor, "batch dim directions"],
    drive: Any = None,
    *,
    steps: int,
    compiled: bool | None = None,
) -> Pushed:
    """The push for a run of many steps from here, compiled by torch.compile where the work saved pays for it.

    Parameters
    ----------
    states, tangents, drive
        Of the first step: what is compiled serves these shapes, and its first step is compared with the eager one.
    steps
        Pushes of the whole run; a run that is resumed states the same number, and then makes the same choice.
    compiled
        Whether to compile; decided from a count of the operations in one eager push when left out.

    Notes
    -----
    Compiled is the forward mode of ``step`` and, where that cannot be traced or differs, the hand-written push. Eager pushes
    stay, and the note says so, for a step that cannot be traced (scipy inside, branches on values), that draws random numbers,
    whose drive is neither None nor a tensor, without a C++ compiler, or whose first step differs beyond rounding. The compiled
    step has other last bits than the eager one, so that chaotic orbits part after some steps; its own are the same in every
    process on one machine with one number of threads. torch keeps what it compiled in its own cache folder.

    Cost: one eager push to decide; 2 to 14 s to compile.
    """
    if compiled is False:
        return Pushed(dynamics, False, "pushes are eager, as asked")
    count = _Count()
    with _drawing_again(states), count:
        expected = push(dynamics, states, tangents, drive)
    per_call = PER_DUAL_CALL if dynamics.push is None else PER_CALL
    saved = steps * max(0.0, PER_STEP + count.calls * per_call + count.numbers * PER_NUMBER)
    if compiled is None and saved <= COMPILING:
        note = f"compiled, {steps} of them would save {saved:.2g} s of the {COMPILING:.0f} s that it may take"
        return Pushed(dynamics, False, f"pushes are eager: {note}")
    if count.random:
        return Pushed(dynamics, False, "pushes are eager: the step draws random numbers")
    if not (drive is None or isinstance(drive, Tensor)):
        return Pushed(
            dynamics, False, f"pushes are eager: a drive of type {type(drive).__name__} may be another at each step"
        )
    reasons = []
    for source in ("forward mode", "the hand-written push") if dynamics.push is not None else ("forward mode",):
        twin = replace(dynamics, push=None) if source == "forward mode" else dynamics
        try:
            carry = _compiled(twin, states, tangents, drive)
            trial = Pushed(dynamics, True, f"pushes are {source}, compiled", carry, _shapes(states, tangents, drive))
            got = trial(states, tangents, drive)
        except Exception as error:  # the tracer, the compiler or the user's code may raise anything
            reasons.append(f"{source}: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
            continue
        # every operation, and every term of a sum over dim, may round once
        allowed = (count.calls + dynamics.dim) * torch.finfo(dynamics.dtype).eps
        if all(_near(a, b, allowed) for a, b in zip(got, expected, strict=True)):
            return trial
        reasons.append(f"{source}: its first step differs from the eager one beyond rounding")
    return Pushed(dynamics, False, f"pushes are eager, for none could be compiled ({'; '.join(reasons)})")


class _Count(TorchDispatchMode):
    """Operations run, numbers they wrote, and whether one of them draws."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.numbers, self.random = 0, 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        if isinstance(out, Tensor) and not func.is_view:
            self.numbers += out.numel()
        return out


def _compiled(dynamics: Dynamics, states: Tensor, tangents: Tensor, drive: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    """The push traced to one graph of plain operations, on fake tensors so that no value is baked in, and compiled.

    Tangents go in and out with the directions innermost in memory: there the loops over them are vectorised.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def carry(states: Tensor, tangents: Tensor, *held: Tensor) -> tuple[Tensor, Tensor]:
        drive = held[0] if held else None
        if dynamics.push is not None:
            after, carried = push(dynamics, states, tangents, drive)
        else:
            after, carried = _forward_mode(partial(dynamics, drive=drive), states, tangents)
        return after.contiguous(), carried.contiguous()

    inputs = [states.contiguous(), tangents.contiguous(), *([] if drive is None else [drive])]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = make_fx(carry, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        compiled = torch.compile(graph, fullgraph=True, dynamic=False)
        compiled(*inputs)
    return compiled


def _shapes(*tensors: Any) -> tuple[Any, ...]:
    """What a compiled push depends on."""
    return tuple((t.shape, t.dtype, t.device) if isinstance(t, Tensor) else t for t in tensors)


def _near(got: Tensor, expected: Tensor, allowed: float) -> bool:
    """Equal to so many roundings of the largest entry; what is not finite, alike."""
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(got)):
        return False
    apart = (got - expected)[finite].abs()
    return not len(apart) or bool(apart.max() <= allowed * expected[finite].abs().max())


def _reverse(function: Any, inputs: Tensor, outputs: int) -> Tensor:
    """(batch, outputs, inputs) slope of a row-independent function by one batched reverse pass."""
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        after = function(inputs)
    seeds = torch.eye(outputs, dtype=after.dtype, device=after.device)[:, None, :].expand(outputs, *after.shape)
    if not after.requires_grad or not len(inputs):
        return inputs.new_zeros(len(inputs), outputs, inputs.shape[1])
    (rows,) = torch.autograd.grad(after, inputs, seeds, is_grads_batched=True, materialize_grads=True)
    return rows.transpose(0, 1).detach()


def _pulled(function: Any, states: Tensor, cotangents: Tensor) -> Tensor:
    """(batch, dim, directions) transposed slope of a row-independent function, times (batch, outputs, directions)."""
    with torch.enable_grad():
        states = states.detach().requires_grad_()
        after = function(states)
    if not after.requires_grad or not cotangents.numel():
        return states.new_zeros(*states.shape, cotangents.shape[2])
    seeds = cotangents.movedim(2, 0).contiguous()
    (carried,) = torch.autograd.grad(after, states, seeds, is_grads_batched=True, materialize_grads=True)
    return carried.movedim(0, 2).detach()
