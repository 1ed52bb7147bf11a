"""Windows of a profile at several sizes: mean squares that polynomials leave, and their sums by block of time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Windows:
    """The windows of every size on a series of so many steps, and the blocks of time that their middles lie in."""

    def __init__(self, sizes: np.ndarray, steps: int, degree: int, overlap: float, blocks: int) -> None:
        self.blocks = blocks
        numbers = (steps - sizes) // np.maximum(1, np.round(sizes * (1 - overlap)).astype(int)) + 1
        self.strides = (steps - sizes) // (numbers - 1)
        self.first = (steps - sizes - self.strides * (numbers - 1)) // 2
        self.sizes, self.numbers = sizes, numbers
        self.bases = [
            torch.from_numpy(np.linalg.qr(np.vander(np.linspace(-1, 1, size), degree + 1))[0].T.copy())
            for size in sizes
        ]
        self.scale = np.repeat(np.arange(len(sizes)), numbers)
        ahead = np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        self.starts = self.first[self.scale] + self.strides[self.scale] * ahead
        self.ends = self.starts + sizes[self.scale]
        cells = self.scale * self.blocks + (self.starts + self.ends) // 2 * self.blocks // steps
        self.cells, self.runs = np.unique(cells, return_index=True)  # windows of one cell are neighbours

    def residuals(self, profile: Tensor) -> Tensor:
        """(series, windows) F^2: mean squares of what is left of (series, steps) without its polynomials."""
        squares = []
        for size, first, stride, number, basis in zip(
            self.sizes.tolist(), self.first, self.strides, self.numbers, self.bases, strict=True
        ):
            y = profile[:, first:].unfold(1, size, int(stride))[:, :number].reshape(-1, size)
            left = torch.addmm(y, torch.mm(basis, y.T).T, basis, alpha=-1)
            squares.append(torch.linalg.vecdot(left, left).view(len(profile), -1) / size)
        return torch.cat(squares, dim=1)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(series, windows) -> (series, scales, blocks)."""
        cells = np.zeros((len(values), len(self.sizes) * self.blocks))
        cells[:, self.cells] = np.add.reduceat(values, self.runs, axis=1)
        return cells.reshape(len(values), -1, self.blocks)
