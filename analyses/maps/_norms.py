"""Norms |T x| and proved bounds of slopes in them: what ``contraction`` measures with, and how a norm is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.enclosure import EPS, Ball
from hooks.errors import InputError

POWERS = 20  # power steps for a Perron vector: its quality sharpens a bound and is no part of the proof


@dataclass(frozen=True, eq=False)
class Norm:
    """|T x|_2, with Y about T^-1: T A T^-1 = T A Y (T Y)^-1, and |(T Y)^-1| <= 1 / (1 - slack)."""

    T: Tensor
    Y: Tensor
    slack: float

    def upper(self, slopes: Ball) -> Tensor:
        """(batch,) bounds of |T A T^-1|_2 for all A in the balls."""
        seen = Ball.exact(self.T) @ slopes @ Ball.exact(self.Y)
        return norm_bounds(seen) / (1 - self.slack) * (1 + 4 * EPS)

    def lower(self, slope: Ball) -> float:
        """|T A w| / |T w| at most, A in one ball, w the direction that it stretches most."""
        direction = self.Y @ torch.linalg.svd(self.T @ slope.mid @ self.Y).Vh[0]
        w = Ball.exact(direction[:, None])
        after, before = Ball.exact(self.T) @ (slope @ w), Ball.exact(self.T) @ w
        least = (after.mid.abs() - after.rad).clamp(min=0).norm()
        return float(least / before.magnitude.norm() * (1 - 4 * (len(direction) + 4) * EPS))


def norm_bounds(A: Ball) -> Tensor:
    """(batch,) upper bounds of the 2-norms of every matrix in the balls.

    The smaller of |mid|_2 + |rad|_2 and sqrt(|A|_1 |A|_inf). |mid|_2^2 is the largest eigenvalue of G = mid' mid, at most the
    largest Gershgorin disc of Q' G Q over 1 - |Q'Q - I|_inf (Ostrowski), Q the computed eigenvectors. |rad|_2^2 is at most the
    largest (R'R v)_i / v_i for any v > 0 (Collatz and Wielandt).
    """
    dim = A.mid.shape[-1]
    safe = 1 + 8 * (dim + 4) * EPS
    mid = torch.nan_to_num(A.mid)
    G = Ball.exact(mid.mT) @ Ball.exact(mid)
    Q = Ball.exact(torch.linalg.eigh(G.mid).eigenvectors)
    turned = Ball.exact(Q.mid.mT) @ G @ Q
    off = (Ball.exact(Q.mid.mT) @ Q - Ball.exact(torch.eye(dim).to(mid))).magnitude.sum(-1).amax(-1) * safe
    middle = (turned.magnitude.sum(-1).amax(-1) * safe / (1 - off)).sqrt() * safe
    v = torch.ones_like(A.rad[..., :1])
    for _ in range(POWERS):
        v = A.rad.mT @ (A.rad @ v)
        v = v / v.amax(-2, keepdim=True).clamp(min=1e-300) + 1e-12
    spread = ((A.rad.mT @ (A.rad @ v)) / v).amax((-2, -1)).sqrt() * safe
    size = A.magnitude
    outer = size.sum(-1).amax(-1).sqrt() * size.sum(-2).amax(-1).sqrt() * safe
    bound = torch.fmin((middle + spread) * safe + 1e-150, outer)  # squares below 1e-300 underflow
    return torch.where(torch.isfinite(A.mid + A.rad).all(-1).all(-1), bound, float("inf"))


def _norm(T: Tensor) -> Norm | None:
    """The norm |T x|, unless T is singular to rounding."""
    Y, failed = torch.linalg.inv_ex(T)
    if failed or not torch.isfinite(Y).all():
        return None
    left = Ball.exact(torch.eye(len(T)).to(T)) - Ball.exact(T) @ Ball.exact(Y)
    slack = float(norm_bounds(left[None])[0])
    return Norm(T, Y, slack) if slack < 1e-3 else None


def given_norm(dynamics: Dynamics, metric: Any) -> Norm:
    """The norm of a metric (dim, dim), or (dim,) for a diagonal one; InputError when it is not positive definite."""
    M = torch.as_tensor(metric, dtype=torch.float64, device=dynamics.device)
    M = torch.diag(M) if M.ndim == 1 else M
    if M.shape != (dynamics.dim, dynamics.dim) or not torch.isfinite(M).all():
        raise InputError(f"a metric is finite and {dynamics.dim} by {dynamics.dim}, but shape {tuple(M.shape)} came")
    T, failed = torch.linalg.cholesky_ex((M + M.mT) / 2, upper=True)
    norm = None if failed or not torch.allclose(M, M.mT, rtol=1e-10, atol=0) else _norm(T)
    if norm is None:
        raise InputError("a metric is symmetric and positive definite beyond rounding, and the given one is not")
    return norm


def best_norm(slopes: Tensor, over: Ball | None) -> Norm:
    """Of some norms that shrink all sampled slopes, the one with the smallest bound over the box; else the nearest to that."""

    def sampled(norm: Norm) -> float:
        return float(torch.linalg.matrix_norm(norm.T @ slopes @ norm.Y, 2).max())

    largest = slopes.abs().amax(0) if over is None or not torch.isfinite(over.magnitude).all() else over.magnitude[0]
    tried = [torch.eye(len(largest)).to(largest), _perron_scaling(largest), *_lyapunov_transform(slopes.mean(0))]
    norms = [norm for norm in map(_norm, tried) if norm is not None]
    norms.append(_descended(min(norms, key=sampled), slopes))
    shrinking = [norm for norm in norms if sampled(norm) < 1]
    if over is None or not shrinking:
        return min(norms, key=sampled)
    return min(shrinking, key=lambda norm: float(norm.upper(over)[0]))


def _perron_scaling(B: Tensor) -> Tensor:
    """Diagonal T that minimises |T B T^-1|_2 for B > 0, down to its spectral radius: sqrt(left / right Perron vector)."""
    B = B + 1e-9 * B.amax().clamp(min=1e-300)
    right, left = (torch.ones_like(B[0]) for _ in range(2))
    for _ in range(10 * POWERS):
        right, left = B @ right, B.mT @ left
        right, left = right / right.amax(), left / left.amax()
    return torch.diag((left / right).sqrt())


def _lyapunov_transform(J: Tensor) -> list[Tensor]:
    """T with T'T = sum of J'^k J^k / q^(2k), so that |T J T^-1| < q, half-way from the spectral radius of J to 1."""
    slope = J.cpu().numpy()
    q = (1 + float(np.abs(np.linalg.eigvals(slope)).max())) / 2
    if not q < 1 - 1e-9:
        return []
    M = torch.as_tensor(solve_discrete_lyapunov(slope.T / q, np.eye(len(slope)))).to(J)
    T, failed = torch.linalg.cholesky_ex((M + M.mT) / 2, upper=True)
    return [] if failed else [T]


def _descended(norm: Norm, slopes: Tensor, steps: int = 100) -> Norm:
    """Subgradient steps on log of the largest |T J T^-1| over the slopes, a quasiconvex function of T'T.

    With q the direction most stretched and p = T J T^-1 q, the slope of |p|^2 in M, seen in coordinates where M = I, is
    p p' - |p|^2 q q'; slopes near the largest share a step.
    """
    best, least, T = norm, float(stretch(norm, slopes).max()), norm.T
    eye = torch.eye(len(T)).to(T)
    for step in range(steps):
        moved = _norm(T)
        if moved is None:
            break
        seen = T @ slopes @ moved.Y
        q = _stretched_most(seen)
        p = seen @ q
        size = p.norm(dim=1, keepdim=True)
        if float(size.max()) < least:
            best, least = moved, float(size.max())
        p = p / size.clamp(min=1e-300)
        share = torch.softmax(50 * (size - size.max()), 0)
        uphill = (share * (p @ p.mT - q @ q.mT)).sum(0)
        factor, failed = torch.linalg.cholesky_ex(eye - 0.5 / (1 + step) ** 0.5 * uphill, upper=True)
        if failed:
            break
        T = factor @ T
        T = T / T.norm() * len(T) ** 0.5
    return best


def _stretched_most(A: Tensor) -> Tensor:
    """(batch, dim, 1) unit vectors near the first right singular vectors."""
    q = torch.linalg.vector_norm(A, dim=-2)[..., None] + 1e-300  # column norms: a start with all directions in it
    for _ in range(POWERS):
        q = A.mT @ (A @ q)
        q = q / q.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return q


def stretch(norm: Norm, slopes: Tensor) -> Tensor:
    """(batch,) |T J T^-1|_2, from below."""
    seen = norm.T @ slopes @ norm.Y
    return (seen @ _stretched_most(seen)).norm(dim=(1, 2))
