"""A small Mamba on the bytes of Python's own library: two blocks of 48 units, 96 channels of 8 states each, 50 000 parameters.

The text is read where the running Python is installed and never copied. ``shipped`` holds what ``trained`` gave once, in half
precision; ``untrained`` gives networks of random weights for nulls.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from case_studies._small_gpt import BYTES, next_byte
from case_studies._train import shipped_weights

LAYERS, UNITS, STATES, CONTEXT = 2, 48, 8, 96
BATCH, RATE, UPDATES = 32, 4e-3, 1200  # 4 million bytes: ten minutes on one core, a third of it with mambapy
WEIGHTS = "library_mamba"


def small_mamba(layers: int = LAYERS, units: int = UNITS, states: int = STATES) -> Any:
    """A Mamba of these sizes with weights drawn as its library draws them."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=BYTES,
        hidden_size=units,
        num_hidden_layers=layers,
        state_size=states,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        use_cache=False,
        use_mambapy=True,  # its scan, where that package is installed
    )
    return MambaForCausalLM(config)


def untrained(seed: int, layers: int = LAYERS, units: int = UNITS, states: int = STATES) -> Any:
    """A network of random weights, drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return small_mamba(layers, units, states).eval().requires_grad_(False)


def shuffled(model: Any, seed: int) -> Any:
    """A copy with the entries of every parameter in random places: its sizes, and nothing of what they are for."""
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in twin.parameters():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return twin


def trained(texts: Sequence[str], *, seed: int = 0, updates: int = UPDATES) -> tuple[Any, float]:
    """A network trained to predict the next byte of these texts, and its smoothed loss in nats a byte."""
    return next_byte(small_mamba, texts, context=CONTEXT, batch=BATCH, seed=seed, updates=updates, learning_rate=RATE)


def shipped() -> Any:
    """The trained network from the weights beside this file."""
    model = untrained(0)
    model.load_state_dict({name: weight.float() for name, weight in shipped_weights(WEIGHTS).items()}, strict=False)
    return model
