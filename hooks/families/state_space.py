"""The recurrent states of Mamba and Mamba-2 layers, which their forward passes never return, and the map that makes them.

A mixer hands its scan nothing but the features of each token: u after the convolution (Mamba), or u, B, C and the raw step
(Mamba-2). They are read from the mixer's own projections by forward hooks, the recurrence is run on them in float64, and what
it says, through gate and output projection, must be what the mixer returned, or nothing is returned here. So any layer with
these parts is read, of whatever library, and one that does something else besides is refused.

Gu and Dao, arXiv 2312.00752 (Mamba), algorithm 2; Dao and Gu, arXiv 2405.21060 (Mamba-2). Cost: one forward pass, and one scan
of (runs, tokens, channels, width) in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, silu, softplus

from hooks.dynamics import digest
from hooks.errors import CaptureError, InputError
from hooks.families.linear_form import LinearForm, StateSpaceLayer, selective_form
from hooks.trajectory import Trajectory

ROUNDING = (
    1e3  # eps of the model's dtype: what the recurrence says agrees with the mixer to this share of its largest output
)
HALVES = 0.1  # that share for half precision, where a scan of hundreds of tokens rounds at each


@dataclass(frozen=True, eq=False)
class Mixer:
    """The parts of a state-space mixer in float64, each a function of what the one before it gives.

    Attributes
    ----------
    path
        Where it stands in the model.
    layer
        Its recurrence.
    split
        What in_proj gave -> what enters the convolution (..., mixed), and what passes it by (..., rest).
    features
        (convolved (..., mixed), rest) -> features of the recurrence (..., inputs).
    finish
        (y (..., channels), rest) -> the mixer's output (..., hidden).
    W_in, b_in
        Of in_proj.
    kernel, bias
        Of the causal convolution over tokens: (mixed, taps) and (mixed,).
    """

    path: str
    module: nn.Module
    layer: StateSpaceLayer
    split: Callable[[Tensor], tuple[Tensor, Tensor]]
    features: Callable[[Tensor, Tensor], Tensor]
    finish: Callable[[Tensor, Tensor], Tensor]
    W_in: Tensor
    b_in: Tensor | None
    kernel: Tensor
    bias: Tensor

    def project(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised stream (..., hidden), split."""
        return self.split(linear(stream, self.W_in, self.b_in))

    def convolved(self, mixed: Tensor) -> Tensor:
        """(runs, tokens, mixed), each token with the ones before it, none after."""
        taps = self.kernel.shape[1]
        past = conv1d(mixed.mT, self.kernel[:, None], self.bias, padding=taps - 1, groups=len(self.kernel))
        return silu(past[..., : mixed.shape[1]].mT)


def state_space_layer(model: nn.Module, layer: int = 0) -> StateSpaceLayer:
    """The recurrence of one Mamba or Mamba-2 mixer of a model, in float64; ``.dynamics()`` is its map, clocked by tokens.

    Parameters
    ----------
    layer
        Which of the model's mixers, counted from the first.

    Raises
    ------
    InputError
        When the model has no such mixer.
    """
    return mixer_of(model, layer).layer


def recurrent_states(model: nn.Module, tokens: Any, layer: int = 0) -> Trajectory:
    """The states that a mixer goes through while the model reads tokens, each text from the zero state.

    Parameters
    ----------
    model
        Called on the tokens once, on its own device; hooks are taken off again.
    tokens : (texts, tokens) or (tokens,) int
    layer
        As for ``state_space_layer``.

    Returns
    -------
    Trajectory
        (texts, tokens + 1, channels width), the drives the features of each token: stepping the layer's map along them gives
        the states. Labels: "text", and "token", -1 before the first.

    Raises
    ------
    InputError
        For tokens of another shape, a model in training mode, or a model without such a mixer.
    CaptureError
        When the mixer was not called once, or its output is not what these states say.
    """
    read = np.atleast_2d(np.asarray(tokens.detach().cpu() if isinstance(tokens, Tensor) else tokens))
    if read.ndim != 2 or read.dtype.kind not in "iu" or not read.size:
        raise InputError(
            f"tokens are whole numbers (texts, tokens), one at least, but {read.dtype} of shape {read.shape} came"
        )
    if model.training:
        raise InputError(
            "the model is in training mode, where dropout makes its states random: call model.eval() first"
        )
    mixer, features, rest, returned = recorded(model, torch.as_tensor(read.astype(np.int64)), layer)

    form = mixer.layer.form(features)
    states = form.states()
    _check_output(mixer, mixer.finish(form.read(states[:, 1:]), rest), returned)

    before = np.full((len(read), 1), -1)
    return Trajectory(
        mixer.layer.flat(states).numpy(),
        "token",
        drives=features.numpy(),
        labels={"text": np.arange(len(read)), "token": np.concatenate([before, read], axis=1)},
        source=mixer.layer.name,
    )


def recorded(model: nn.Module, tokens: Tensor, layer: int) -> tuple[Mixer, Tensor, Tensor, Tensor]:
    """A mixer, its features (texts, tokens, inputs), what passes the convolution by, and what the mixer returned."""
    mixer = mixer_of(model, layer)
    projected, returned = _called(model, mixer, tokens)
    entering, rest = mixer.split(projected.double())
    return mixer, mixer.features(mixer.convolved(entering), rest), rest, returned


def write_and_read(model: nn.Module, layer: int = 0) -> tuple[Tensor, Tensor]:
    """S_B and S_C, (width, channels): how a Mamba mixer sets B and C from the token u, for ``token_regime``.

    Raises
    ------
    InputError
        When there is no such mixer, or it is of Mamba-2, whose B and C come from the stream and not from u.
    """
    mixer = mixer_of(model, layer)
    if "x_proj" not in mixer.module._modules:
        raise InputError(f"{mixer.path!r} is a Mamba-2 mixer: its B and C come from the stream, not from the token u")
    width = mixer.layer.width
    _, S_B, S_C = _own(mixer.module.x_proj.weight).split([len(mixer.module.x_proj.weight) - 2 * width, width, width])  # type: ignore[union-attr,arg-type]
    return S_B, S_C


def mixers(model: nn.Module) -> list[Mixer]:
    """Every Mamba and Mamba-2 mixer of a model, in the order in which it lists them."""
    return [_read(path, module) for path, module in _found(model)]


def mixer_of(model: nn.Module, layer: int) -> Mixer:
    """The mixer of this number. Raises InputError when there is none."""
    found = _found(model)
    if not 0 <= layer < len(found):
        raise InputError(
            f"{type(model).__name__} has {len(found)} Mamba or Mamba-2 mixers, so there is no mixer {layer}"
        )
    return _read(*found[layer])


def _found(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules with decays, projection and convolution of their own."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if "A_log" in module._parameters and {"in_proj", "conv1d", "out_proj"} <= module._modules.keys()
    ]


def _read(path: str, module: nn.Module) -> Mixer:
    return _first(path, module) if "x_proj" in module._modules else _second(path, module)


def _first(path: str, module: Any) -> Mixer:
    """Mamba: u alone goes through the convolution, and sets step, B and C by x_proj."""
    A, D = -_own(module.A_log).exp(), _own(module.D)
    channels, width = A.shape
    W_x, W_step, step_bias = _own(module.x_proj.weight), _own(module.dt_proj.weight), _own(module.dt_proj.bias)
    rank = W_step.shape[1]

    def form(u: Tensor) -> LinearForm:
        low, writes, reads = (u @ W_x.mT).split([rank, width, width], dim=-1)
        steps = softplus(low @ W_step.mT + step_bias)
        return selective_form(u, steps[..., None] * A, steps, writes, reads, D)

    layer = StateSpaceLayer(
        form, channels, channels, width, f"Mamba layer {path}", fingerprint=digest(A, D, W_x, W_step, step_bias)
    )
    W_out, b_out = _linear(module.out_proj)

    def split(projected: Tensor) -> tuple[Tensor, Tensor]:
        return projected[..., :channels], projected[..., channels:]

    def finish(y: Tensor, gate: Tensor) -> Tensor:
        return linear(y * silu(gate), W_out, b_out)

    return Mixer(path, module, layer, split, lambda convolved, _: convolved, finish, *_entrance(module))


def _second(path: str, module: Any) -> Mixer:
    """Mamba-2: u, B and C go through the convolution together; the step, one a head, does not."""
    A, D, step_bias = -_own(module.A_log).exp(), _own(module.D), _own(module.dt_bias)
    heads, size, width, groups = len(A), module.head_dim, module.ssm_state_size, module.n_groups
    channels, shared = heads * size, groups * width
    low, high = module.time_step_limit
    scale, tiny = _own(module.norm.weight), module.norm.variance_epsilon

    def by_channel(per_head: Tensor) -> Tensor:
        return per_head.repeat_interleave(size, dim=-1)

    def form(features: Tensor) -> LinearForm:
        u, writes, reads, raw = features.split([channels, shared, shared, heads], dim=-1)
        steps = by_channel(softplus(raw + step_bias).clamp(low, high))
        logs = (steps * by_channel(A))[..., None].expand(*steps.shape, width)
        writes, reads = (
            part.unflatten(-1, (groups, width)).repeat_interleave(channels // groups, dim=-2)
            for part in (writes, reads)
        )
        return selective_form(u, logs, steps, writes, reads, by_channel(D))

    def split(projected: Tensor) -> tuple[Tensor, Tensor]:
        gate, entering, raw = projected.split([channels, channels + 2 * shared, heads], dim=-1)
        return entering, torch.cat([gate, raw], dim=-1)

    def finish(y: Tensor, rest: Tensor) -> Tensor:
        gated = (y * silu(rest[..., :channels])).unflatten(-1, (groups, channels // groups))
        normed = gated * torch.rsqrt(gated.square().mean(dim=-1, keepdim=True) + tiny)
        return linear(scale * normed.flatten(-2), W_out, b_out)

    inputs = channels + 2 * shared + heads
    layer = StateSpaceLayer(
        form, inputs, channels, width, f"Mamba-2 layer {path}",
        fingerprint=digest(A, D, step_bias, heads, size, groups, low, high),
    )  # fmt: skip
    W_out, b_out = _linear(module.out_proj)

    def features(convolved: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([convolved, rest[..., channels:]], dim=-1)

    return Mixer(path, module, layer, split, features, finish, *_entrance(module))


def _entrance(module: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """W_in, b_in, kernel and bias."""
    kernel = _own(module.conv1d.weight)[:, 0]
    bias = kernel.new_zeros(len(kernel)) if module.conv1d.bias is None else _own(module.conv1d.bias)
    return *_linear(module.in_proj), kernel, bias


def _own(weight: Tensor) -> Tensor:
    return weight.detach().cpu().double()


def _linear(module: Any) -> tuple[Tensor, Tensor | None]:
    return _own(module.weight), None if module.bias is None else _own(module.bias)


def _called(model: nn.Module, mixer: Mixer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What the mixer's in_proj and the mixer itself returned in one forward pass."""
    taken: dict[str, list[Tensor]] = {"in_proj": [], "mixer": []}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            taken[name].append((output[0] if isinstance(output, tuple) else output).detach().cpu().clone())

        return hook

    handles = [mixer.module.in_proj.register_forward_hook(keep("in_proj"))]  # type: ignore[union-attr]
    handles.append(mixer.module.register_forward_hook(keep("mixer")))
    try:
        with torch.no_grad():
            model(tokens.to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    calls = {name: len(kept) for name, kept in taken.items()}
    if set(calls.values()) != {1}:
        raise CaptureError(f"one pass of the model calls {mixer.path!r} once, but {calls} calls were seen")
    return taken["in_proj"][0], taken["mixer"][0]


def _check_output(mixer: Mixer, said: Tensor, returned: Tensor) -> None:
    share = min(ROUNDING * torch.finfo(returned.dtype).eps, HALVES)
    gap, largest = float((said - returned.double()).abs().max()), float(returned.abs().max())
    if not gap <= share * largest:
        raise CaptureError(
            f"the recurrence read from {mixer.path!r} says an output that differs from its own by {gap:.2g}, where the largest "
            f"is {largest:.2g} and rounding allows {share * largest:.2g}: {type(mixer.module).__name__} does more than a "
            "Mamba or Mamba-2 mixer, or something changes its output"
        )
