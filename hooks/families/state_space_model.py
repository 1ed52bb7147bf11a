"""A whole Mamba language model token by token: every buffer and every state of every layer as one map.

Driven by the embedding of each token (teacher forcing), its slope is block triangular: a layer's state depends on itself, by a
diagonal factor below 1, and on the layers below; convolution buffers shift and are forgotten. So its exponents are those of the
single layers, negative for any weights, and -inf. Only where the model reads what it wrote can the sign be another:
``closed_loop(state_space_model(model))`` feeds the mean embedding under the predicted distribution back, softmax(logits /
temperature) times the embedding matrix, which is smooth and exact as a map, and not the same as drawing a token.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from hooks.dynamics import Dynamics, digest
from hooks.errors import CaptureError, InputError
from hooks.families.state_space import HALVES, ROUNDING, Mixer, mixers

TRIED = 8  # tokens on which the map is compared with the model


def state_space_model(model: nn.Module, *, temperature: float = 1.0) -> Dynamics:
    """The map of all states of a language model of Mamba or Mamba-2 blocks, driven by token embeddings.

    Parameters
    ----------
    model
        Of transformers: blocks x + mixer(norm(x)) of one width, a last norm, a head without bias.
    temperature
        Divides the logits in the readout.

    Returns
    -------
    Dynamics
        In float64. The state is, layer by layer, the last taps - 1 inputs of the convolution and the recurrent state, then what
        the last norm gave for the last token. The readout is the mean embedding under the predicted distribution, as wide as
        the drive. ``embeddings(model, tokens)`` gives drives; the zero state is where a text begins.

    Raises
    ------
    InputError
        For a model of other parts, in training mode, or a temperature that is not positive.
    CaptureError
        When its logits are not the model's own on a few tokens.

    Notes
    -----
    dim is hidden + layers (mixed (taps - 1) + channels width). A step costs the model's own on one token.
    """
    if model.training or temperature <= 0:
        raise InputError(
            f"a model in eval mode and a positive temperature are needed, but {model.training=}, {temperature=}"
        )
    parts = mixers(model)
    norms = [_norm(model.get_submodule(part.path.rpartition(".")[0] + ".norm")) for part in parts]
    last = _norm(_last_norm(model))
    E, head = (getattr(model, name)() for name in ("get_input_embeddings", "get_output_embeddings"))
    E, W_head = E.weight.detach().cpu().double(), head.weight.detach().cpu().double()
    hidden = E.shape[1]
    sizes = [size for part in parts for size in (_buffer(part), part.layer.dim)] + [hidden]

    def step(states: Tensor, drive: Tensor) -> Tensor:
        held = states.split(sizes, dim=1)
        stream = drive.expand(len(states), hidden)
        after: list[Tensor] = []
        for part, norm, buffer, state in zip(parts, norms, held[:-1:2], held[1::2], strict=True):
            buffer, state, out = _stepped(part, buffer, state, norm(stream))
            stream = stream + out
            after += [buffer, state]
        return torch.cat([*after, last(stream)], dim=1)

    def readout(states: Tensor) -> Tensor:
        return (states[:, -hidden:] @ W_head.mT / temperature).softmax(dim=1) @ E

    dynamics = Dynamics(
        step, dim=sum(sizes), name=type(model).__name__, clock="token", driven=True, inputs=hidden, readout=readout,
        fingerprint=digest(temperature, *model.state_dict().values()),
        layers=tuple(layer for layer, size in enumerate(sizes) for _ in range(size)),
    )  # fmt: skip
    _compare(model, dynamics, E, W_head)
    return dynamics


def embeddings(model: nn.Module, tokens: Any) -> Tensor:
    """(..., hidden) float64 drives of tokens (...,) for ``state_space_model``."""
    E: Any = model.get_input_embeddings()  # type: ignore[operator]
    return E.weight.detach().cpu().double()[torch.as_tensor(tokens).cpu()]


def recurrent_coordinates(model: nn.Module) -> list[slice]:
    """Where the recurrent state of each layer stands in the states of ``state_space_model``."""
    parts = mixers(model)
    ends = list(accumulate(size for part in parts for size in (_buffer(part), part.layer.dim)))
    return [slice(low, high) for low, high in zip(ends[::2], ends[1::2], strict=True)]


def _stepped(part: Mixer, buffer: Tensor, state: Tensor, stream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Buffer and state after a token, and what the mixer says of it."""
    mixed, taps = part.kernel.shape
    entering, rest = part.project(stream)
    window = torch.cat([buffer.unflatten(1, (mixed, taps - 1)), entering[..., None]], dim=2)
    convolved = silu((window * part.kernel).sum(dim=2) + part.bias)
    form = part.layer.form(part.features(convolved, rest))
    now = form.log_decays.exp() * part.layer.unflat(state) + form.writes * form.values[..., None]
    return window[..., 1:].flatten(1), part.layer.flat(now), part.finish(form.read(now), rest)


def _buffer(part: Mixer) -> int:
    mixed, taps = part.kernel.shape
    return mixed * (taps - 1)


def _norm(module: Any) -> Any:
    """Root-mean-square norm in float64, whatever dtype the module computes it in."""
    scale, tiny = module.weight.detach().cpu().double(), module.variance_epsilon
    return lambda x: scale * (x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + tiny))


def _last_norm(model: nn.Module) -> nn.Module:
    found = [module for path, module in model.named_modules() if path.rpartition(".")[2] == "norm_f"]
    if len(found) != 1:
        raise InputError(
            f"{type(model).__name__} has {len(found)} norms called norm_f, where a Mamba or Mamba-2 language model has one"
        )
    return found[0]


def _compare(model: nn.Module, dynamics: Dynamics, E: Tensor, W_head: Tensor) -> None:
    """Raise unless the map says the model's own logits on a few tokens, spread over the vocabulary."""
    tokens = torch.linspace(0, len(E) - 1, TRIED).long()
    state, said = torch.zeros(1, dynamics.dim, dtype=torch.float64), []
    with torch.no_grad():
        given = model(tokens[None].to(next(model.parameters()).device)).logits[0].cpu()
        for token in tokens:
            state = dynamics(state, E[token])
            said.append(state[0, -E.shape[1] :] @ W_head.mT)
    gap, largest = float((torch.stack(said) - given.double()).abs().max()), float(given.abs().max())
    allowed = min(ROUNDING * torch.finfo(given.dtype).eps, HALVES) * largest
    if not gap <= allowed:
        raise CaptureError(
            f"stepped token by token, {type(model).__name__} says logits that differ by {gap:.2g} from its own (rounding "
            f"allows {allowed:.2g}): it has other parts than Mamba or Mamba-2 blocks, a norm and a head"
        )
