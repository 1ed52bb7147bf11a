"""Networks of the same shape that compute something else: what a finding about a trained network has to beat.

``random_twin`` was not trained. ``scrambled_twin`` has the trained weights in random places: training also makes weights grow,
and some of what differs from an untrained network differs by their size alone.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from hooks.errors import InputError
from hooks.stack import stack_of


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


def scrambled_twin(model: nn.Module, *, seed: int) -> Any:
    """A copy in whose blocks every weight tensor has the same entries in random places; all outside the blocks stays.

    Parameters
    ----------
    model
        What ``hooks.stack.stack_of`` reads. Left as it came.
    seed
        Of the draw; the caller's generators are untouched.

    Returns
    -------
    nn.Module
        In eval mode, without gradients.
    """
    stack = stack_of(model)
    twin: Any = copy.deepcopy(stack.module).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for path in stack.blocks:
        for weight in twin.get_submodule(path).parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return twin


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
