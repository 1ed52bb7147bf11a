"""How surprising is each token of a text to a language model? -log p(token | all before it), for any causal model.

A recording, not an analysis: it takes a network and returns a series, which ``analyses/series`` takes. A model is a callable on
tokens (texts, steps). It returns either scores (texts, steps, vocabulary) of the *next* token, as torch modules do, alone or as
``.logits``, normalised or not; or log-probabilities (texts, steps) of the tokens *themselves*, as an n-gram model does, which
need no table over its vocabulary. That no score depends on a later token is tried on the first text.

Cost: one forward pass a batch, and one more; logits of one batch in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooks.errors import InputError

AHEAD = 1e-3  # nats: above the rounding of a forward pass in half precision, below what seeing a token does


def surprisal(
    model: Callable[[Tensor], Any], texts: Sequence[Any] | np.ndarray, *, batch: int = 8
) -> Float[np.ndarray, "texts steps"]:
    """Surprisals in nats; the first token of a text has none where the model scores next tokens.

    Parameters
    ----------
    model
        Tokens (texts, steps) of int64 to scores, as above; a module in ``eval`` mode, called on its own device.
    texts
        Token ids of each, two at least.
    batch
        Texts a pass.

    Returns
    -------
    (texts, steps)
        One column a token that is scored: all but the first of the longest text where the model scores next tokens, else all.
        NaN after the end of a shorter text.

    Raises
    ------
    InputError
        For no text, one that is no line of token ids, a module in training mode, scores of another shape, a token outside the
        vocabulary, a probability above 1, or scores that depend on later tokens.
    """
    rows = [np.asarray(text.detach().cpu() if isinstance(text, Tensor) else text) for text in texts]
    bad = next((i for i, row in enumerate(rows) if row.ndim != 1 or len(row) < 2 or row.dtype.kind not in "iu"), None)
    if not rows or bad is not None or batch < 1:
        came = (
            f"text {bad}: {rows[bad].dtype}, {rows[bad].shape}"
            if bad is not None
            else f"{len(rows) or 'no'} texts, {batch=}"
        )
        raise InputError(f"surprisal takes texts of two token ids or more, at least one at a time, but got {came}")
    if isinstance(model, nn.Module) and model.training:
        raise InputError("the model is in training mode, where dropout makes scores random: call model.eval() first")

    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)  # padding after the end is seen by no token of the text
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.from_numpy(row.astype(np.int64))
    ends = np.array([len(row) for row in rows])
    _look_ahead(model, tokens[:1, : ends[0]])

    parts = []
    for first in range(0, len(rows), batch):
        some = tokens[first : first + batch, : ends[first : first + batch].max()]
        parts.append(_log_probabilities(next_scores(model, some), some))
    unscored = int(parts[0].shape[1] < ends[:batch].max())
    found = np.full((len(rows), longest - unscored), np.nan)
    for first, part in zip(range(0, len(rows), batch), parts, strict=True):
        found[first : first + batch, : part.shape[1]] = -part
    found[np.arange(found.shape[1]) >= (ends - unscored)[:, None]] = np.nan
    return found


def next_scores(model: Callable[[Tensor], Any], tokens: Tensor) -> Tensor:
    """(texts, steps, vocabulary) of the next tokens, or (texts, steps) of the tokens themselves."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    device = "cpu" if weight is None else weight.device
    with torch.no_grad():
        scores = model(tokens.to(device))
    scores = getattr(scores, "logits", scores)
    if not isinstance(scores, Tensor):
        raise InputError(
            f"a model gives scores, alone or as .logits, but {type(scores).__name__} came: load it with its head"
        )
    scores = scores.cpu()
    if scores.ndim not in (2, 3) or scores.shape[:2] != tokens.shape:
        raise InputError(
            f"a model takes tokens (texts, steps) to (texts, steps, vocabulary) or (texts, steps), but {tuple(tokens.shape)} "
            f"gave {tuple(scores.shape)}"
        )
    return scores


def _log_probabilities(scores: Tensor, tokens: Tensor) -> np.ndarray:
    """(texts, steps) of a model that scores the tokens themselves; (texts, steps - 1) of one that scores the next."""
    if scores.ndim == 2:
        if (scores > AHEAD).any():
            raise InputError(f"log-probabilities are 0 or less, but the model gave {float(scores.max()):.3g}")
        return scores.double().numpy()
    if tokens.min() < 0 or tokens.max() >= scores.shape[2]:
        raise InputError(
            f"tokens {int(tokens.min())} to {int(tokens.max())} came, but the model scores 0 to {scores.shape[2] - 1}"
        )
    chosen = scores[:, :-1].gather(2, tokens[:, 1:, None])[..., 0].double()
    totals = torch.stack([row.double().logsumexp(dim=1) for row in scores[:, :-1]])  # a text at a time: float64 is wide
    return (chosen - totals).numpy()


def _look_ahead(model: Callable[[Tensor], Any], text: Tensor) -> None:
    """Refuse a model whose scores change with a later token."""
    other = text.clone()
    middle = max(1, text.shape[1] // 2)
    other[:, middle:] = text[:, :1]
    before, after = (next_scores(model, tokens)[:, :middle].double() for tokens in (text, other))
    gap = float((before - after).abs().max())
    if not gap <= AHEAD:
        raise InputError(f"the model is not causal: scores change by {gap:.2g} nats with tokens that come later")
