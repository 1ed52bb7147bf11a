"""Which units of a feed-forward network or transformer are joined, by which weights?

A recording of weights, as ``hooks.capture`` is of states: a state dict goes in, the weight matrices come out with the two
groups of units that each joins. Of a transformer block n they are the stream that enters it (``n.stream``), queries, keys,
values or what attention carries of them (``n.query``, ``n.key``, ``n.value``), what attention adds (``n.attention``) and the
hidden units (``n.hidden``), which write to ``n+1.stream``. What joins units without a weight (scores, residual additions) is no
connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hooks.errors import InputError

# Part of a block -> how its names end in the state dicts of GPT-2, GPT-NeoX, Llama and its kin, BERT, torch's encoder layer
NAMES = {
    "fused, transposed": r"attn\.c_attn\.weight",
    "fused by heads": r"attention\.query_key_value\.weight",
    "fused": r"self_attn\.in_proj_weight",
    "query": r"(?:self_attn\.q_proj|attention\.self\.query)\.weight",
    "key": r"(?:self_attn\.k_proj|attention\.self\.key)\.weight",
    "value": r"(?:self_attn\.v_proj|attention\.self\.value)\.weight",
    "out, transposed": r"attn\.c_proj\.weight",
    "out": r"(?:attention\.dense|self_attn\.o_proj|self_attn\.out_proj|attention\.output\.dense)\.weight",
    "up, transposed": r"mlp\.c_fc\.weight",
    "up": r"(?:mlp\.dense_h_to_4h|mlp\.up_proj|linear1|intermediate\.dense)\.weight",
    "gate": r"mlp\.gate_proj\.weight",
    "down, transposed": r"mlp\.c_proj\.weight",
    "down": r"(?:mlp\.dense_4h_to_h|mlp\.down_proj|linear2|(?<!attention\.)output\.dense)\.weight",
}
PART = re.compile(
    r"(?:^|.*\.)(?:h|layers?|blocks)\.(\d+)\.(?:"
    + "|".join(f"(?P<part{i}>{pattern})" for i, pattern in enumerate(NAMES.values()))
    + ")$"
)


@dataclass(frozen=True, eq=False)
class Connection:
    """Weights from one group of units to another."""

    source: str
    target: str
    weight: Tensor  # (target units, source units), float64

    def __repr__(self) -> str:
        return f"{self.source} -> {self.target} {tuple(self.weight.shape)}"


def connections(
    network: nn.Module | Mapping[str, Tensor], *, heads: int | None = None, groups: int | None = None
) -> tuple[Connection, ...]:
    """The connections of a transformer's blocks, or of a chain of linear layers.

    Parameters
    ----------
    network
        A module or its state dict: GPT-2, GPT-NeoX and Pythia, Llama, Mistral, Qwen2, BERT, torch's ``TransformerEncoder``;
        else two-axis weights of which each takes as many units as the one before gives, in the order of the state dict.
    heads, groups
        Attention heads, and groups of them with keys and values in common; read from ``network.config`` where there is one.
        Fused weights that are interleaved by heads, and groups, need them.

    Raises
    ------
    InputError
        For weights of no such network, a block with parts missing, or heads that are needed and not known.
    """
    config = getattr(network, "config", None)
    heads = heads or getattr(config, "num_attention_heads", None)
    groups = groups or getattr(config, "num_key_value_heads", None) or heads
    weights = network.state_dict() if isinstance(network, nn.Module) else network
    blocks: dict[int, dict[str, Tensor]] = {}
    for name, value in weights.items():
        if isinstance(value, Tensor) and (found := PART.match(name)) is not None:
            part = next(p for i, p in enumerate(NAMES) if found[f"part{i}"])
            matrix = value.detach().double().cpu()
            transposed = part.endswith(", transposed")
            blocks.setdefault(int(found[1]), {})[part.removesuffix(", transposed")] = matrix.T if transposed else matrix
    if not blocks:
        return _chain(weights)
    return tuple(join for number in sorted(blocks) for join in _block(number, blocks[number], heads, groups))


def _block(number: int, parts: dict[str, Tensor], heads: int | None, groups: int | None) -> list[Connection]:
    query, key, value = _attention(number, parts, heads)
    missing = [name for name in ("out", "up", "down") if name not in parts]
    if missing:
        raise InputError(f"block {number} has no weights for {missing}, only {sorted(parts)}")
    carried = parts["out"].shape[1]  # units that attention carries: the values of every head
    if len(value) != carried:
        if not heads or not groups or heads % groups or len(value) % groups:
            raise InputError(
                f"block {number} has {len(value)} values for {carried} units carried: pass heads= and groups="
            )
        value = value.unflatten(0, (groups, -1)).repeat_interleave(heads // groups, dim=0).flatten(0, 1)
    stream, attended, hidden = f"{number}.stream", f"{number}.attention", f"{number}.hidden"
    joins = [
        Connection(stream, f"{number}.{name}", W) for name, W in (("query", query), ("key", key), ("value", value))
    ]
    joins += [Connection(f"{number}.value", attended, parts["out"]), Connection(attended, hidden, parts["up"])]
    joins += [Connection(attended, f"{number}.gate", parts["gate"])] if "gate" in parts else []
    return [*joins, Connection(hidden, f"{number + 1}.stream", parts["down"])]


def _attention(number: int, parts: dict[str, Tensor], heads: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of queries, keys and values."""
    if "fused" in parts:
        q, k, v = parts["fused"].chunk(3)
        return q, k, v
    if "fused by heads" in parts:
        if not heads:
            raise InputError(f"the queries, keys and values of block {number} are interleaved by heads: pass heads=")
        by_head = parts["fused by heads"].unflatten(0, (heads, 3, -1))
        q, k, v = (by_head[:, i].flatten(0, 1) for i in range(3))
        return q, k, v
    missing = [name for name in ("query", "key", "value") if name not in parts]
    if missing:
        raise InputError(f"block {number} has no weights for {missing}, only {sorted(parts)}")
    return parts["query"], parts["key"], parts["value"]


def _chain(weights: Mapping[str, Any]) -> tuple[Connection, ...]:
    matrices = {name: value for name, value in weights.items() if isinstance(value, Tensor) and value.ndim == 2}
    fits = all(after.shape[1] == len(before) for before, after in pairwise(matrices.values()))
    if not matrices or not fits:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(matrices.items())[:6])
        raise InputError(
            "these weights are neither a transformer's whose names are known nor a chain of layers, each as wide as the one "
            f"before it gives: {shapes or 'no matrices came'}"
        )
    return tuple(
        Connection(f"{i}.units", f"{i + 1}.units", value.detach().to(dtype=torch.float64, device="cpu"))
        for i, value in enumerate(matrices.values())
    )
