"""Who moves the residual stream: the step that each block makes, split into its attention heads, its MLP or its mixer.

A block that adds to its stream makes the step post - pre = sum over heads of z_h W_h + bias + MLP, where z_h is what head h
hands to the output projection and W_h its rows of that projection. The sum is checked on every state: of blocks that normalise
after they add (BERT) the parts are no increments, and they are refused. By the features of a sparse dictionary the steps are
split by ``hooks.dictionary.feature_increments``.

Cost: the forward pass, and memory of runs x blocks x parts x width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooks._lens import output_projections
from hooks.capture import capture
from hooks.errors import InputError
from hooks.stack import Stack, as_texts, in_batches, positions_in, stack_of

ROUNDING = 64  # eps of the dtype, of the largest part: a sum of a few dozen parts, each of a few hundred terms
PARTS = {"attn_out": "attention", "mlp_out": "MLP", "mixer_out": "mixer"}


@dataclass(frozen=True, eq=False)
class Increments:
    """The steps of the stream through each block, and what they are made of.

    Attributes
    ----------
    total : (runs, blocks, width)
        Stream after the block less stream before it.
    parts : (runs, blocks, parts, width)
        Zero where a block has no such part.
    names : (parts,)
        "head 0", ..., "attention bias", "MLP", "mixer", or "attention" undivided.
    gap
        The largest |total - sum of parts|.
    text, position : (runs,)
        Where each run stands.
    """

    total: np.ndarray
    parts: np.ndarray
    names: tuple[str, ...]
    gap: float
    text: np.ndarray
    position: np.ndarray

    def shares(self) -> Float[np.ndarray, "runs blocks parts"]:
        """How far each part moves the stream along the whole step, in steps: they add up to 1. NaN where nothing moves."""
        along = np.einsum("rbpw,rbw->rbp", self.parts, self.total)
        length = np.square(self.total).sum(axis=2)[..., None]
        return np.divide(along, length, out=np.full_like(along, np.nan), where=length > 0)


def increments(
    stack: Stack | nn.Module, tokens: Any, *, positions: Any = None, heads: bool = True, batch: int = 8
) -> Increments:
    """The steps of the residual stream, split by head, MLP and mixer.

    Parameters
    ----------
    stack
        A Stack, or a model that ``stack_of`` reads, of an architecture that TransformerLens knows.
    tokens, positions, batch
        As in ``record_stream``.
    heads
        Whether attention is split by head.

    Raises
    ------
    InputError
        When the parts inside the blocks have no names, or do not add up to the step: the blocks normalise or scale after they
        add, or, for heads, after the output projection.
    """
    stack = stack_of(stack)
    texts = as_texts(tokens)
    kept = [positions_in(len(text), positions) for text in texts]
    depth = len(stack.blocks)
    kinds = [kind for kind in PARTS if any(f"blocks.{k}.{kind}" in stack.sites for k in range(depth))]
    if not kinds:
        raise InputError(f"nothing names the parts inside the blocks of {stack.name}, so their steps cannot be split")
    count, joins = output_projections(stack.module, stack.blocks) if heads and "attn_out" in kinds else (0, {})
    maps = {k: _rows(stack.module.get_submodule(path), count) for k, path in joins.items() if count}
    names = [*(f"head {head}" for head in range(count)), "attention bias"] if maps else []
    names += [PARTS[kind] for kind in kinds if kind != "attn_out" or len(maps) < depth]
    places = {**stack.sites, **{f"blocks.{k}.z": (joins[k], "in") for k in maps}}
    wanted = [name for name in places if not name.endswith("resid_mid")]

    steps: dict[int, np.ndarray] = {}
    splits: dict[int, np.ndarray] = {}
    for now, inputs in in_batches(texts, batch):
        at = torch.as_tensor(kept[now[0]])
        with capture(stack.module, wanted, places=places, keep=partial(_at, at=at)) as tape:
            stack.run(inputs)
        made, moved = [], []
        for k in range(depth):
            added = {kind: tape[f"blocks.{k}.{kind}"] for kind in kinds if f"blocks.{k}.{kind}" in tape}
            step = tape[f"blocks.{k}.resid_post"] - tape[f"blocks.{k}.resid_pre"]
            _refuse_gap(step, sum(added.values()), f"the parts of block {k} of {stack.name} do not add up to its step")
            found = {PARTS[kind]: values for kind, values in added.items()}
            if k in maps and "attention" in found:
                by_head = _by_head(tape[f"blocks.{k}.z"], *maps[k])
                said = f"the heads of block {k} of {stack.name} do not add up to its attention (heads=False keeps it whole)"
                _refuse_gap(found.pop("attention"), sum(by_head.values()), said)
                found |= by_head
            moved.append(step)
            made.append(torch.stack([found.get(name, torch.zeros_like(step)) for name in names], dim=2))
        steps |= dict(zip(now, torch.stack(moved, 2).double().cpu().numpy(), strict=True))
        splits |= dict(zip(now, torch.stack(made, 2).double().cpu().numpy(), strict=True))

    total = np.concatenate([steps[index] for index in range(len(texts))])
    parts = np.concatenate([splits[index] for index in range(len(texts))])
    return Increments(
        total,
        parts,
        tuple(names),
        float(np.abs(total - parts.sum(axis=2)).max(initial=0)),
        np.repeat(np.arange(len(texts)), [len(at) for at in kept]),
        np.concatenate(kept),
    )


def _at(values: Tensor, *, at: Tensor) -> Tensor:
    return values.detach()[:, at.to(values.device)]


def _rows(join: nn.Module, count: int) -> tuple[Tensor, Tensor | None]:
    """Of an output projection: each head's rows, (heads, units, width), and the bias."""
    inner: Any = getattr(join, "original_component", join)  # of a bridge
    weight = inner.weight.detach()
    rows = weight.T if isinstance(inner, nn.Linear) else weight  # transformers' Conv1D lies the other way
    return rows.unflatten(0, (count, -1)), None if inner.bias is None else inner.bias.detach()


def _by_head(z: Tensor, rows: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    each = torch.einsum("tphu,huw->htpw", z.unflatten(-1, (len(rows), -1)), rows)
    rest = torch.zeros_like(each[0]) if bias is None else bias.expand_as(each[0])
    return {**{f"head {head}": values for head, values in enumerate(each)}, "attention bias": rest}


def _refuse_gap(whole: Tensor, parts: Any, said: str) -> None:
    if not whole.numel():
        return
    gap = float((whole - parts).abs().max())
    allowed = ROUNDING * torch.finfo(whole.dtype).eps * max(1.0, float(parts.abs().max()), float(whole.abs().max()))
    if not gap <= allowed:
        raise InputError(
            f"{said}: off by {gap:.2g}, rounding allows {allowed:.2g}. It normalises or scales after it adds."
        )
