"""What a language model writes, and what it writes instead when one of its tokens is swapped for its second choice.

A recording, not an analysis: ``analyses.trajectories.divergence_time`` takes it. Every token is the most probable one, so that
what is written is a function of what came before. Models are as in ``hooks.surprisal``, scoring the next token.

Cost: (steps + 1) x horizon + steps + horizon forward passes over all texts, each over everything written so far: nothing is
kept between passes, so that any callable will do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks.errors import InputError
from hooks.surprisal import next_scores


@dataclass(frozen=True, eq=False)
class Continuations:
    """One text continued with and without a swap, for every text and place of the swap.

    Attributes
    ----------
    tokens : (texts, steps + horizon)
        What follows the prompt.
    uncertainty : (texts, steps)
        Entropy, in nats, of the distribution from which each of the first tokens was taken.
    second : (texts, steps)
        The second most probable token there.
    swapped : (texts, steps, horizon)
        What follows when the second choice stands in place of the first.
    control : (texts, horizon)
        What follows when the first token is swapped for itself.
    """

    tokens: Int[np.ndarray, "texts written"]
    uncertainty: Float[np.ndarray, "texts steps"]
    second: Int[np.ndarray, "texts steps"]
    swapped: Int[np.ndarray, "texts steps horizon"]
    control: Int[np.ndarray, "texts horizon"]


def continuations(
    model: Callable[[Tensor], Any], prompts: Any, *, steps: int, horizon: int, batch: int = 64
) -> Continuations:
    """The most probable continuation of each prompt, and of it with each of its first tokens swapped.

    Parameters
    ----------
    model
        Tokens (texts, steps) to scores (texts, steps, vocabulary) of the next token, alone or as ``.logits``; a module in
        ``eval`` mode.
    prompts : (texts, length)
        Token ids, one at least.
    steps
        Tokens that are swapped, one at a time.
    horizon
        Tokens that are written after each swap.
    batch
        Texts a pass.

    Raises
    ------
    InputError
        For prompts of another shape, no step or horizon, a module in training mode, or a model that scores no next token.
    """
    start = torch.as_tensor(prompts)
    if start.ndim != 2 or not start.numel() or start.is_floating_point() or min(steps, horizon, batch) < 1:
        raise InputError(
            f"prompts are (texts, length) token ids, and steps, horizon and batch are 1 or more, but {tuple(start.shape)} of "
            f"{start.dtype}, {steps=}, {horizon=} and {batch=} came"
        )
    if isinstance(model, nn.Module) and model.training:
        raise InputError("the model is in training mode, where dropout makes scores random: call model.eval() first")

    def written(before: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        parts = [_greedy(model, rows, count) for rows in before.split(batch)]
        first, second, uncertainty = (torch.cat(part) for part in zip(*parts, strict=True))
        return first, second, uncertainty

    tokens, second, uncertainty = written(start.long(), steps + horizon)
    swapped = []
    for step in range(steps):
        before = torch.cat([start.long(), tokens[:, :step], second[:, step : step + 1]], dim=1)
        swapped.append(written(before, horizon)[0])
    control = written(torch.cat([start.long(), tokens[:, :1]], dim=1), horizon)[0]
    return Continuations(
        tokens.numpy(),
        uncertainty[:, :steps].numpy(),
        second[:, :steps].numpy(),
        torch.stack(swapped, dim=1).numpy(),
        control.numpy(),
    )


def _greedy(model: Callable[[Tensor], Any], tokens: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """First choices, second choices and entropies, each (texts, count)."""
    firsts, seconds, entropies = [], [], []
    for _ in range(count):
        scores = next_scores(model, tokens)
        if scores.ndim != 3 or scores.shape[2] < 2:
            raise InputError("a text is continued by a model that scores two next tokens or more")
        log_p = scores[:, -1].double().log_softmax(dim=1)
        first, second = log_p.topk(2, dim=1).indices.T
        firsts.append(first)
        seconds.append(second)
        entropies.append(torch.special.entr(log_p.exp()).sum(1))
        tokens = torch.cat([tokens, first[:, None]], dim=1)
    return torch.stack(firsts, 1), torch.stack(seconds, 1), torch.stack(entropies, 1)
