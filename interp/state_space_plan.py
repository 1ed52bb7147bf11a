"""The plan of a state-space language model: how fast its states forget, whether it moves by itself, and what it goes on with.

For models of Mamba or Mamba-2 blocks and some texts of one length. It stands after the account of the residual stream on the
same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.maps.part_exchange import PartExchange, exchange_parts
from analyses.maps.state_exponents import StateExponents, state_exponents
from analyses.result import Result
from analyses.weights.token_regime import TokenRegime, token_regime
from hooks.dynamics import Dynamics, rollout
from hooks.errors import CaptureError, InputError
from hooks.families import closed_loop, embeddings, recurrent_coordinates, recurrent_states, state_space_model
from hooks.families.state_space import Mixer, mixers, write_and_read
from interp.journal import Journal

MOST_LAYERS, MOST_TEXTS = 8, 16  # of which states are read
SHORTEST, LONGEST = 8, 128  # tokens of a text
WIDEST = 1 << 14  # coordinates of a map that is run by itself
LOOPED, STEPS = 4, 200  # texts after which the model goes on by itself, and tokens of that
HORIZON, DRAWS = 16, 39  # tokens read after an exchange, and random groups of coordinates beside each part


def is_state_space(model: Any) -> bool:
    """Whether the model has Mamba or Mamba-2 mixers."""
    return isinstance(model, nn.Module) and bool(mixers(model))


def state_space(
    journal: Journal, model: nn.Module, texts: Sequence[np.ndarray], *, seed: int = 0, about: str = ""
) -> tuple[str, ...]:
    """Exponents of each layer's state, the regime of its tokens, exponents in closed loop, and parts of states exchanged.

    Parameters
    ----------
    model
        With Mamba or Mamba-2 mixers, in eval mode.
    texts
        Token ids of each, cut to the shortest of those that have ``SHORTEST`` tokens.
    seed
        Of all draws.
    about
        Put before each title.

    Returns
    -------
    tuple of str
        Why a part of the plan was left out.
    """
    long = [text for text in texts if len(text) >= SHORTEST][:MOST_TEXTS]
    if len(long) < 2:
        return (f"Not shown: anything of the states, for fewer than two texts have {SHORTEST} tokens.",)
    tokens = np.stack([text[: min(LONGEST, *map(len, long))] for text in long])
    parts = mixers(model)
    for layer in np.unique(np.linspace(0, len(parts) - 1, min(len(parts), MOST_LAYERS)).astype(int)).tolist():
        _layer(journal, model, parts[layer], tokens, layer, seed, about)
    try:
        dynamics = state_space_model(model)
    except (InputError, CaptureError) as error:
        return (f"Not shown: the model as one map of its states, so nothing in closed loop or exchanged; {error}.",)
    if dynamics.dim > WIDEST:
        return (
            f"Not shown: the model in closed loop or with parts exchanged, for its state has {dynamics.dim} coordinates.",
        )
    _whole(journal, model, dynamics, tokens, seed, about)
    return ()


def _layer(
    journal: Journal, model: nn.Module, part: Mixer, tokens: np.ndarray, layer: int, seed: int, about: str
) -> None:
    """How fast the state of one layer forgets, and what its tokens would do by themselves."""
    features = recurrent_states(model, tokens, layer).drives
    assert features is not None
    journal.note(
        f"{about}exponents of the state of layer {layer}",
        state_exponents,
        part.layer.log_decays(torch.tensor(features)),
    )
    if "x_proj" in part.module._modules:  # Mamba-2 writes and reads by the stream, which the theory does not treat
        S_B, S_C = write_and_read(model, layer)
        generator = np.random.default_rng(seed)
        journal.note(f"{about}token regime of layer {layer}", token_regime, S_B, S_C, generator=generator)


def _whole(journal: Journal, model: nn.Module, dynamics: Dynamics, tokens: np.ndarray, seed: int, about: str) -> None:
    """The model left to itself after some texts, and states of other texts put in while it reads."""
    read = rollout(dynamics, np.zeros((len(tokens), dynamics.dim)), drives=embeddings(model, tokens))
    ends = read.states[:LOOPED, -1]
    journal.note(
        f"{about}exponents in closed loop", lyapunov_spectrum, closed_loop(dynamics), ends,
        steps=STEPS, burn_in=STEPS // 2, directions=2,
    )  # fmt: skip
    journal.note(
        f"{about}parts of the state exchanged", exchange_parts, dynamics, read, exchanged(model, dynamics),
        horizon=min(HORIZON, tokens.shape[1] // 2), draws=DRAWS, generator=np.random.default_rng(seed),
    )  # fmt: skip


def exchanged(model: nn.Module, dynamics: Dynamics) -> dict[str, np.ndarray]:
    """Coordinates of all recurrent states, of all convolutions' buffers, and of the state of each of a few layers."""
    states = recurrent_coordinates(model)
    every = np.arange(dynamics.dim)
    recurrent = np.concatenate([every[place] for place in states])
    buffers = np.setdiff1d(every[: states[-1].stop], recurrent)
    few = (
        np.unique(np.linspace(0, len(states) - 1, min(len(states), MOST_LAYERS)).astype(int)) if len(states) > 1 else ()
    )
    return {
        "all recurrent states": recurrent,
        "all convolutions": buffers,
        **{f"state of layer {layer}": every[states[layer]] for layer in few},
    }


def state_space_account(results: Mapping[str, Result]) -> tuple[str, ...]:
    """What was found of the states, in the order of the plan."""
    sentences = []
    for title, result in results.items():
        where = title.rpartition(": ")[2]
        if isinstance(result, StateExponents | TokenRegime) and "of layer" in where:
            sentences.append(f"{where[:1].upper()}{where[1:]}: {result.summary()}.")
        elif isinstance(result, LyapunovSpectrum):
            sentences.append(f"Left to read its own mean prediction: {result.summary()}.")
        elif isinstance(result, PartExchange):
            sentences.append(f"Causal test: {result.summary()}.")
    return tuple(sentences)
