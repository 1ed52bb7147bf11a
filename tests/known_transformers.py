"""Transformers whose mechanism is known because it was written: weights set from small programs, in float64.

A stream is cut into named slots. A head is compiled from two rules, which slot of the query must match which slot of the key,
and which slot of the value is copied where, so that its attention is a lookup: weights of MATCH make every other position's
share exp(-MATCH), which is nothing in float64. ``scrambled`` is the random-weight twin: the same entries in random places.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

MATCH = 60.0


class Attention(nn.Module):
    """Causal heads: softmax(x Q (x K)^T) x V O, summed; each weight (heads, width, size), O (heads, size, width)."""

    def __init__(self, *heads: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        self.Q, self.K, self.V, self.O = (nn.Parameter(torch.stack(part)) for part in zip(*heads, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (torch.einsum("bsw,hwk->bhsk", x, weight) for weight in (self.Q, self.K, self.V))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        shares = (query @ key.mT).masked_fill(later, -torch.inf).softmax(-1)
        return torch.einsum("bhsk,hkw->bsw", shares @ value, self.O)


class Block(nn.Module):
    """x + attn(x), then x + mlp(x); either may be absent."""

    def __init__(self, attn: nn.Module | None = None, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.attn is None else x + self.attn(x)
        return x if self.mlp is None else x + self.mlp(x)


class Written(nn.Module):
    """Embeddings of token and position, blocks, and a linear readout: tokens (batch, steps) -> (batch, steps, outputs)."""

    def __init__(self, tokens: Tensor, positions: Tensor, blocks: list[Block], unembed: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Embedding.from_pretrained(tokens)
        self.positions = nn.Embedding.from_pretrained(positions)
        self.blocks = nn.ModuleList(blocks)
        self.unembed = nn.Parameter(unembed)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return x @ self.unembed


def slots(**sizes: int) -> tuple[dict[str, slice], int]:
    """Name -> its place in the stream, and the width of the stream."""
    places, width = {}, 0
    for name, size in sizes.items():
        places[name] = slice(width, width + size)
        width += size
    return places, width


def onto(place: slice, width: int) -> Tensor:
    """(slot, width): what carries the slot's coordinates into the stream; its transpose reads them."""
    return torch.eye(width, dtype=torch.float64)[place]


def induction_copier(vocabulary: int = 6, steps: int = 16) -> tuple[Written, dict[str, slice]]:
    """Says what followed the last time: of a text that begins with token 0, and holds it nowhere else.

    Block 0 writes the token before each position into ``previous``; block 1 looks for positions whose ``previous`` is the
    token at hand, and copies the token there into ``guess`` (Elhage et al., A Mathematical Framework for Transformer Circuits,
    2021); where there is none it copies token 0. Of several, their mean.
    """
    at, width = slots(token=vocabulary, position=steps, previous=vocabulary, guess=vocabulary)
    token, position, previous, guess = (onto(at[name], width) for name in ("token", "position", "previous", "guess"))
    before = torch.diag(torch.ones(steps - 1, dtype=torch.float64), -1)  # position i asks for i - 1
    before[0, 0] = 1
    back = (MATCH * position.mT @ before, position.mT, token.mT, previous)
    # the first position is half a match for every token
    fallback = torch.zeros(vocabulary, vocabulary, dtype=torch.float64)
    fallback[0] = 0.5
    same = (MATCH * token.mT, previous.mT + token.mT @ fallback, token.mT, guess)
    same[1][at["previous"].start] = 0  # nothing came before the first position, and it is after nothing
    blocks = [Block(Attention(back)), Block(Attention(same))]
    return Written(token, position, blocks, guess.mT.contiguous()).eval().requires_grad_(False), at


def share_counter(vocabulary: int = 4, steps: int = 16) -> tuple[Written, dict[str, slice]]:
    """The share of each token in the text so far, by one head that attends everywhere alike; reads out the shares."""
    at, width = slots(token=vocabulary, share=vocabulary)
    token, share = onto(at["token"], width), onto(at["share"], width)
    nothing = torch.zeros(width, 1, dtype=torch.float64)
    blocks = [Block(Attention((nothing, nothing, token.mT.contiguous(), share)))]
    places = torch.zeros(steps, width, dtype=torch.float64)
    return Written(token, places, blocks, share.mT.contiguous()).eval().requires_grad_(False), at


def depth_rotation(layers: int = 63, turns: float = 5.0, width: int = 6, vocabulary: int = 8) -> Written:
    """Turns the stream in its first two coordinates by 2 pi turns / layers a block, and leaves the others; reads out all.

    Tokens start at random.
    """
    angle = 2 * math.pi * turns / layers
    change = torch.zeros(width, width, dtype=torch.float64)
    change[:2, :2] = torch.tensor(
        [[math.cos(angle) - 1, -math.sin(angle)], [math.sin(angle), math.cos(angle) - 1]], dtype=torch.float64
    )
    blocks = []
    for _ in range(layers):
        turn = nn.Linear(width, width, bias=False, dtype=torch.float64)
        turn.weight = nn.Parameter(change.clone())
        blocks.append(Block(mlp=turn))
    start = torch.randn(vocabulary, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = torch.zeros(16, width, dtype=torch.float64)
    return Written(start, places, blocks, torch.eye(width, dtype=torch.float64)).eval().requires_grad_(False)


def as_gpt2(model: Written, *, at_head: tuple[int, ...], heads: int = 2) -> Any:
    """The same program in the weights of a GPT-2: the head of block k sits at ``at_head[k]``, other heads and MLPs add nothing.

    The stream must hold one 1 in each slot written so far, so that every normalisation sees one mean and one variance, and its
    own weights can undo it.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    vocabulary, width = model.tokens.weight.shape
    steps, size = len(model.positions.weight), width // heads
    none: Any = {f"{part}_pdrop": 0.0 for part in ("resid", "embd", "attn")}
    settings: Any = {"vocab_size": vocabulary, "n_positions": steps, "n_embd": width, "n_layer": len(model.blocks)}
    gpt: Any = GPT2LMHeadModel(
        GPT2Config(**settings, **none, n_head=heads, n_inner=1, attn_implementation="eager", tie_word_embeddings=False,
                   bos_token_id=None, eos_token_id=None)
    ).double()  # fmt: skip
    body = gpt.transformer
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.zero_()
        body.wte.weight.copy_(model.tokens.weight)
        body.wpe.weight.copy_(model.positions.weight)
        body.ln_f.weight.fill_(1.0)
        gpt.lm_head.weight.copy_(model.unembed.T)
        for k, (block, written) in enumerate(zip(body.h, model.blocks, strict=True)):
            mean = (2 + k) / width  # token, position, and what the blocks before wrote
            block.ln_1.weight.fill_((mean - mean**2 + block.ln_1.eps) ** 0.5)
            block.ln_1.bias.fill_(mean)
            first = at_head[k] * size
            for part, matrix in enumerate((written.attn.Q * size**0.5, written.attn.K, written.attn.V)):
                columns = slice(part * width + first, part * width + first + matrix.shape[2])
                block.attn.c_attn.weight[:, columns] = matrix[0]
            block.attn.c_proj.weight[first : first + written.attn.O.shape[1]] = written.attn.O[0]
    return gpt.eval().requires_grad_(False)


def scrambled(model: Written, seed: int) -> Written:
    """The random-weight twin: every weight of the blocks has the same entries in random places; embeddings stay."""
    twin, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    for name, weight in twin.named_parameters():
        if name.startswith("blocks"):
            order = torch.randperm(weight.numel(), generator=generator)
            weight.data = weight.data.flatten()[order].reshape(weight.shape)
    return twin


def texts(vocabulary: int, runs: int, steps: int, *, seed: int = 0) -> Tensor:
    """(runs, steps) random tokens 1 to vocabulary - 1 after a first token 0."""
    drawn = torch.randint(1, vocabulary, (runs, steps), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 0
    return drawn
