"""Chains of linear layers and nonlinearities as data: the weights that say all of such a module, and the module again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

CHAINED = {kind.__name__: kind for kind in (nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ReLU, nn.SiLU, nn.ELU, nn.GELU)}
SILENT = (nn.Identity, nn.Dropout)  # in eval mode


def chain_weights(*modules: nn.Module) -> dict[str, Tensor | str | int]:
    """Modules, applied one after another, as data; nothing where the structure of one is code."""
    layers = [
        part
        for module in modules
        for part in (module if type(module) is nn.Sequential else [module])
        if type(part) not in SILENT
    ]
    if not all(_is_data(part) for part in (*modules, *layers)):
        return {}
    tensors = {
        f"layers.{k}.{name}": value for k, part in enumerate(layers) for name, value in part.state_dict().items()
    }
    return {"layers": " ".join(type(part).__name__ for part in layers), **tensors}


def chain(weights: Mapping[str, Any]) -> nn.Sequential:
    """The module again, from its weights."""
    modules: list[nn.Module] = []
    for k, kind in enumerate(str(weights["layers"]).split()):
        if kind != "Linear":
            modules.append(CHAINED[kind]())
            continue
        W, b = weights[f"layers.{k}.weight"], weights.get(f"layers.{k}.bias")
        layer = nn.Linear(W.shape[1], len(W), bias=b is not None, dtype=W.dtype)
        with torch.no_grad():
            layer.load_state_dict({"weight": W} if b is None else {"weight": W, "bias": b})
        modules.append(layer)
    return nn.Sequential(*modules)


def _is_data(layer: nn.Module) -> bool:
    """Whether its kind and its weights say all of it: settings as they are by default, no hooks."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if type(layer) is nn.Linear:
        return layer.state_dict().keys() <= {"weight", "bias"}
    kind = type(layer)
    return kind is nn.Sequential or (kind in CHAINED.values() and layer.extra_repr() == kind().extra_repr())
