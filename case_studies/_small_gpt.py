"""A small GPT on the bytes of Python's own library: twelve blocks, 64 units, pre-norm, 0.6 million parameters.

The text is read where the running Python is installed and never copied. ``shipped`` holds what ``trained`` gave once, in half
precision; ``untrained`` gives networks of random weights for nulls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from case_studies._train import shipped_weights, train

LAYERS, UNITS, HEADS, CONTEXT, BYTES = 12, 64, 4, 128, 256
BATCH, RATE, UPDATES = 16, 2e-3, 1500  # 3 million bytes: six minutes of one core
WEIGHTS = "library_gpt"


class NextByte(nn.Module):
    """A causal language model that gives its scores alone: tokens (texts, steps) -> (texts, steps, vocabulary)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens).logits


def small_gpt(layers: int = LAYERS, units: int = UNITS, context: int = CONTEXT) -> Any:
    """A GPT-2 of these sizes with weights drawn as its library draws them, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    kind: Any = GPT2Config
    config = kind(
        vocab_size=BYTES,
        n_positions=context,
        n_embd=units,
        n_layer=layers,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def untrained(seed: int, layers: int = LAYERS, units: int = UNITS, context: int = CONTEXT) -> Any:
    """A network of random weights, drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return small_gpt(layers, units, context).eval().requires_grad_(False)


def trained(texts: Sequence[str], *, seed: int = 0, updates: int = UPDATES) -> tuple[Any, float]:
    """A network trained to predict the next byte of these texts, and its smoothed loss in nats a byte."""
    return next_byte(small_gpt, texts, context=CONTEXT, batch=BATCH, seed=seed, updates=updates, learning_rate=RATE)


def next_byte(
    make: Callable[[], Any], texts: Sequence[str], *, context: int, batch: int, **options: Any
) -> tuple[Any, float]:
    """A language model trained on stretches of these texts, ``context`` bytes each; ``options`` are those of ``train``."""
    stream = torch.from_numpy(as_bytes("\n".join(texts)))
    span = torch.arange(context + 1)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        at = torch.randint(len(stream) - context, (batch, 1), generator=generator) + span
        return stream[at[:, :-1]], stream[at[:, 1:]]

    module, epoch = train(lambda: NextByte(make()), draw, loss=cross_entropy, **options)
    return module.model, epoch.loss


def shipped() -> Any:
    """The trained network from the weights beside this file."""
    model = untrained(0)
    model.load_state_dict({name: weight.float() for name, weight in shipped_weights(WEIGHTS).items()}, strict=False)
    return model


def as_bytes(text: str) -> np.ndarray:
    """(bytes,) of the text in UTF-8, as token ids."""
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)


def cross_entropy(scores: Tensor, tokens: Tensor) -> Tensor:
    """Nats a token."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten())
