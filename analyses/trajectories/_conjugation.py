"""How close can an orthogonal change of coordinates bring one matrix to another? min over C in O(n) of |A - C B C'|, Frobenius.

Method: Levenberg-Marquardt on the tangent space, C <- exp(W) C with W skew, W chosen to make |R - [W, C B C']|^2 + damping
|W|^2 smallest, R = A - C B C'. It is quadratic where the distance is 0. The problem has many local minima: every pair starts
from the eigenvectors of the symmetric parts in the same order (Umeyama, IEEE PAMI 10, 695 (1988)), with signs from the leading
eigenvector of the product of the two matrices there, entry by entry, and from random C; after a few steps the best start alone
goes on.

C and -C give the same matrix, so that for odd n rotations alone, SO(n), reach all of O(n).

The symmetric part S and the skew part K stay apart under any C, so |A - C B C'|^2 = |S_A - C S_B C'|^2 + |K_A - C K_B C'|^2,
and by Hoffman and Wielandt (Duke Math. J. 20, 37 (1953)) each term is at least that of the sorted eigenvalues: a bound that no
C beats.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

SCREENED, MOST = 15, 300  # steps of every start, and of the best one
FLAT = 1e-7  # of |A| |B|: the gradient below which the distance changes by less than rounding
ENTRIES = 2**23  # numbers of the slopes held at once


def conjugations(
    A: np.ndarray, B: np.ndarray, guess: np.ndarray, *, starts: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pairs, n, n) matrices and a first C for each -> distances (pairs,), the C there (pairs, n, n), and whether each search
    converged."""
    pairs, n, _ = A.shape
    if not pairs or not n:
        return np.zeros(pairs), guess.copy(), np.ones(pairs, dtype=bool)
    one, other, known = (torch.tensor(given) for given in (A, B, guess))
    basis, tries = _skew(n), starts + 2
    found = []
    for part in torch.arange(pairs).split(max(1, ENTRIES // max(1, tries * basis.numel()))):
        a, b = one[part], other[part]
        first = torch.cat([known[part, None], _aligned(a, b)[:, None], _random(len(part), starts, n, generator)], dim=1)
        left, right = (side[:, None].expand(first.shape).reshape(-1, n, n) for side in (a, b))
        C, error, _ = _searched(left, right, first.reshape(-1, n, n), basis, SCREENED)
        best = error.reshape(len(part), tries).argmin(1)
        C, error, settled = _searched(a, b, C.reshape(first.shape)[torch.arange(len(part)), best], basis, MOST)
        found.append((error.sqrt(), C, settled))
    errors, turns, flat = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return errors, turns, flat


def conjugation_bounds(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """(pairs,) what no C beats."""
    symmetric, skew = ([(M + sign * M.swapaxes(1, 2)) / 2 for M in (A, B)] for sign in (1, -1))
    apart = [np.linalg.eigvalsh(one) - np.linalg.eigvalsh(other) for one, other in (symmetric, (1j * s for s in skew))]
    return np.sqrt(sum((gap**2).sum(axis=1) for gap in apart))


def eigenvalue_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(pairs, n) complex twice -> (pairs,) 2-Wasserstein distance, each eigenvalue of mass 1.

    For normal matrices this is the conjugation distance over the unitary C; of others it knows the eigenvalues alone.
    """
    squares = np.abs(first[:, :, None] - second[:, None, :]) ** 2
    return np.array([np.sqrt(cost[linear_sum_assignment(cost)].sum()) for cost in squares])


def _skew(n: int) -> Tensor:
    """(n (n - 1) / 2, n, n) basis of the skew matrices."""
    rows, columns = torch.triu_indices(n, n, 1)
    basis = torch.zeros(len(rows), n, n, dtype=torch.float64)
    at = torch.arange(len(rows))
    basis[at, rows, columns], basis[at, columns, rows] = 1.0, -1.0
    return basis


def _random(pairs: int, starts: int, n: int, generator: torch.Generator) -> Tensor:
    """Orthogonal matrices, evenly drawn."""
    q, r = torch.linalg.qr(torch.randn(pairs, starts, n, n, generator=generator, dtype=torch.float64))
    return q * torch.sign(r.diagonal(dim1=-2, dim2=-1))[..., None, :]


def _aligned(a: Tensor, b: Tensor) -> Tensor:
    """The C that takes the eigenvectors of B's symmetric part to those of A's, with the signs that suit the skew parts."""
    (_, E), (_, F) = (torch.linalg.eigh((M + M.mT) / 2) for M in (a, b))
    alike = (E.mT @ a @ E) * (F.mT @ b @ F)
    leading = torch.linalg.eigh(alike + alike.mT)[1][..., -1]
    signs = torch.where(leading < 0, -1.0, 1.0).to(a)
    return E * signs[:, None, :] @ F.mT


def _searched(a: Tensor, b: Tensor, C: Tensor, basis: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """C, the squared distance and whether it is flat there, of every search."""
    scale = a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1)
    damping = 1e-2 * b.flatten(1).square().sum(1)
    M = C @ b @ C.mT
    error = (a - M).square().sum((1, 2))
    flat = torch.zeros(len(a), dtype=torch.bool)
    for _ in range(steps):
        active = ~flat
        if not active.any():
            break
        m = M[active]
        turned = [(basis.flatten(0, 1) @ part).unflatten(1, basis.shape[:2]) for part in (m, m.mT)]
        slope = (turned[0] + turned[1].mT).flatten(2)  # W m - m W = W m + (W m')', (active, directions, n^2)
        gradient = slope @ (a[active] - m).flatten(1)[..., None]
        flat[active] = gradient[..., 0].norm(dim=1) <= FLAT * scale[active]
        normal = slope @ slope.mT
        normal.diagonal(dim1=1, dim2=2).add_(damping[active, None] + 1e-300)
        turn = torch.linalg.solve(normal, gradient)[..., 0]
        moved = torch.matrix_exp(torch.einsum("pk,kij->pij", turn, basis)) @ C[active]
        there = moved @ b[active] @ moved.mT
        left = (a[active] - there).square().sum((1, 2))
        better = left < error[active]
        rows = active.nonzero()[:, 0]
        C[rows[better]], M[rows[better]], error[rows[better]] = moved[better], there[better], left[better]
        damping[rows] *= torch.where(better, 0.2, 5.0).to(damping)
    return C, error, flat
