"""A network of the same shape that was not trained: what a finding about a trained network has to beat."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from hooks.errors import InputError


def random_twin(model: nn.Module, *, seed: int) -> Any:
    """A network of the same shape with random weights, drawn as its library draws them before training.

    A model of transformers is built again from its configuration. Any other module is copied, and every submodule with a method
    ``reset_parameters`` (all of torch's own have one) draws its weights again.

    Parameters
    ----------
    model
        Left as it came.
    seed
        Of the draw; the caller's generators are untouched.

    Returns
    -------
    nn.Module
        In eval mode, without gradients, in the model's dtype and on its device.

    Raises
    ------
    InputError
        When a weight lies in no submodule that can draw it again.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(model, "config", None)
        twin: Any = type(model)(copy.deepcopy(config)) if hasattr(model, "save_pretrained") else _drawn_again(model)
    weight = next(model.parameters(), None)
    twin = twin if weight is None else twin.to(device=weight.device, dtype=weight.dtype)
    return twin.eval().requires_grad_(False)


def _drawn_again(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model)
    for path, part in twin.named_modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise InputError(
                f"{path or type(model).__name__!r} holds weights and has no reset_parameters: give it one, which draws them"
            )
    return twin
