"""The Krawczyk operator at fixed points and cycles, and the eigenvalues of a ball of slopes: what proofs are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.enclosure import EPS, Ball, enclose
from hooks.tangent import jacobian


@dataclass(frozen=True, eq=False)
class Krawczyk:
    """What a proof needs of each point or cycle; the unknowns are all its states, G_i = x_(i+1) - F(x_i)."""

    dynamics: Dynamics
    centers: Tensor  # (found, period, dim)
    inverse: Ball  # (found, period dim, period dim) Y, about DG^-1; any Y is sound, a bad one proves nothing
    shift: Tensor  # (found, period dim) bound of |Y G(c)|
    regular: Tensor  # (found,) bool: DG is not singular to rounding

    def holds(self, rows: Tensor, radius: Tensor) -> Tensor:
        """(rows,) bool: whether the balls of these radii (maximum norm) are proved to hold exactly one root each."""
        size = self.shift.shape[1]
        DG = assembled(self.slopes(rows, radius), self.centers.shape[1])
        eye = Ball.exact(torch.eye(size).to(self.shift))
        contraction = (eye - self.inverse[rows] @ DG).magnitude.sum(2) * (1 + size * EPS)
        inside = (self.shift[rows] + contraction * radius[:, None]) * (1 + 4 * EPS) < radius[:, None]
        return inside.all(1) & self.regular[rows]

    def slopes(self, rows: Tensor, radius: Tensor) -> Ball:
        """(rows period, dim, dim) slopes of F over the balls around each state."""
        _, period, dim = self.centers.shape
        around = self.centers[rows].reshape(-1, dim)
        return enclose(self.dynamics, around, radius.repeat_interleave(period)[:, None].expand_as(around)).slope

    def unstable(self, rows: Tensor, radius: Tensor) -> list[int]:
        """Eigenvalues of DF^period outside the unit circle, of every root in these balls; -1 where that is not proved."""
        _, period, dim = self.centers.shape
        J = self.slopes(rows, radius)
        around = [Ball(*(side.reshape(-1, period, dim, dim)[:, i] for side in (J.mid, J.rad))) for i in range(period)]
        product = reduce(lambda total, slope: slope @ total, around)
        return [unstable_count(product[row]) for row in range(len(rows))]


def krawczyk(dynamics: Dynamics, centers: Tensor) -> Krawczyk:
    """The operator at each of the centers (found, period, dim)."""
    found, period, dim = centers.shape
    flat = centers.reshape(-1, dim)
    slopes = assembled(Ball.exact(jacobian(dynamics, flat)), period).mid
    Y, failed = torch.linalg.inv_ex(slopes)
    regular = (failed == 0) & torch.isfinite(Y).all(2).all(1) & (Y.abs().amax((1, 2)) < 1 / (period * dim * EPS))
    inverse = Ball.exact(torch.where(regular[:, None, None], Y, torch.eye(period * dim).to(Y)))
    value = enclose(dynamics, flat, torch.zeros_like(flat)).value
    gap = Ball.exact(centers.roll(-1, 1).reshape(-1, dim)) - value
    column = Ball(gap.mid.reshape(found, -1, 1), gap.rad.reshape(found, -1, 1))
    return Krawczyk(dynamics, centers, inverse, (inverse @ column).magnitude[..., 0], regular)


def assembled(slope: Ball, period: int) -> Ball:
    """DG of cycles' equations from slopes (found period, dim, dim) at their states: I in block (i, i + 1), -J_i in (i, i)."""
    dim = slope.mid.shape[-1]
    eye = torch.eye(dim).to(slope.mid)
    if period == 1:
        return Ball.exact(eye) - slope
    mid, rad = (side.reshape(-1, period, dim, dim) for side in (-slope.mid, slope.rad))
    blocks = mid.new_zeros(2, len(mid), period, dim, period, dim)
    for i in range(period):
        blocks[0, :, i, :, i], blocks[1, :, i, :, i] = mid[:, i], rad[:, i]
        blocks[0, :, i, :, (i + 1) % period] = eye
    return Ball(*blocks.reshape(2, len(mid), period * dim, period * dim))


def unstable_count(slope: Ball) -> int:
    """Eigenvalues outside the unit circle of every matrix in the ball, or -1.

    With P the eigenvectors of the midpoint and Y about P^-1, eigenvalues of J are those of P^-1 J P = (I - R)^-1 Y J P,
    R = I - Y P: discs around the diagonal of Y J P, widened by |R| / (1 - |R|) |Y J P|. Each connected group of discs holds
    as many eigenvalues as discs, so discs wholly inside and wholly outside the circle can be counted.
    """
    dim = len(slope.mid)
    P = np.linalg.eig(slope.mid.cpu().numpy())[1]
    try:
        Y = np.linalg.inv(P)
    except np.linalg.LinAlgError:
        return -1
    J, spread = slope.mid.cpu().numpy(), slope.rad.cpu().numpy()
    rounding = 8 * (dim + 4) * EPS  # complex products: four real ones each
    JP = J @ P
    JP_error = spread @ np.abs(P) + rounding * (np.abs(J) @ np.abs(P))
    M = Y @ JP
    M_error = np.abs(Y) @ JP_error + rounding * (np.abs(Y) @ np.abs(JP))
    R = np.abs(np.eye(dim) - Y @ P) + rounding * (np.abs(Y) @ np.abs(P) + np.eye(dim))
    off = float(R.sum(axis=1).max()) * (1 + dim * EPS)
    if off >= 1:
        return -1
    size = float((np.abs(M) + M_error).sum(axis=1).max())
    center = np.diag(M)
    reach = (np.abs(M).sum(axis=1) - np.abs(center) + M_error.sum(axis=1) + off / (1 - off) * size) * (1 + rounding)
    inside, outside = np.abs(center) + reach < 1 - rounding, np.abs(center) - reach > 1 + rounding
    return int(outside.sum()) if (inside | outside).all() else -1
