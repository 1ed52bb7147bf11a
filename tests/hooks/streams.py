"""A small causal network with a stack of blocks, texts of unequal length for it, and what its stream is, by hand."""

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """x + tanh(W mean of x so far)."""

    def __init__(self, width):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x):
        so_far = x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None]
        return x + torch.tanh(self.mix(so_far))


class Stream(nn.Module):
    def __init__(self, width=8, depth=3, vocabulary=50):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return x


def stream(seed=0, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Stream(**sizes).eval()


def texts(number=60, longest=12, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 50, rng.integers(1, longest + 1)) for _ in range(number)]


def after(model, block, tokens):
    """The stream after a block, one text alone: (steps, width) float32."""
    with torch.no_grad():
        x = model.embed(torch.as_tensor(tokens))[None]
        for part in model.blocks[: block + 1]:
            x = part(x)
    return x[0].numpy()


def files_of(folder):
    """Every file of a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
