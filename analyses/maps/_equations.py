"""What a search for rests and cycles solves: G(X) = 0 for many rows at once, and the local models its steps are taken in.

A step is Levenberg and Marquardt's, d = -(A'A + mu I)^-1 A'G with A = DG, in one of three forms:

- dense: A = DF - I formed, for states up to ``WIDEST_DENSE`` units;
- Krylov: the same within the space spanned by G, AG, A^2 G, ..., built from ``push`` alone (Newton-Krylov-hookstep:
  Viswanath, J. Fluid Mech. 580, 2007), for wider states: memory ``KRYLOV`` states a row;
- shooting: X = (x_0, ..., x_(k-1)), G_i = F(x_i) - x_(i+1); A'A is block cyclic tridiagonal and solved in k block steps,
  well conditioned where F^k is not (multiple shooting: Stoer and Bulirsch, section 7.3.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Box, Dynamics
from hooks.tangent import jacobian, push

ENTRIES = 1 << 22  # Jacobian entries held at once: 32 MB in float64, a few cache-sized copies of it in flight
WIDEST_DENSE = 48  # units; above it Krylov steps are faster (GRUs of 64 and 256 units: 1.8 and over 10 times)
KRYLOV = 24  # directions of a Krylov model at most
FORCING = 0.1  # a Krylov model is large enough when it predicts a fall of |G| by this factor
MOST = 0.9  # for this share of its rows
ANDERSON = 6  # steps that Anderson acceleration remembers
STORED = 1 << 25  # numbers that the models of one batch may hold: 256 MB

Model = tuple[Tensor, ...]  # parts with one row a start


@dataclass(frozen=True, eq=False)
class Equation:
    """G(X) = 0, row by row.

    Attributes
    ----------
    gaps
        (states (batch, unknowns), rows (batch,)) -> G, (batch, unknowns); ``rows`` number the starts the states belong to.
    model
        (states, gaps, rows) -> the local model.
    step
        (model, mu (batch,)) -> d (batch, unknowns); zeros where mu was too small for it.
    newton
        (states, gaps, rows) -> the full Newton step.
    stored
        Numbers that the model of one row holds.
    patience
        Trials without a fall of |G| by a tenth after which a start is called stuck.
    """

    gaps: Callable[[Tensor, Tensor], Tensor]
    model: Callable[[Tensor, Tensor, Tensor], Model]
    step: Callable[[Model, Tensor], Tensor]
    newton: Callable[[Tensor, Tensor, Tensor], Tensor]
    stored: int
    patience: int = 30


def fixed_point_equation(dynamics: Dynamics, drives: Tensor | None = None) -> Equation:
    """F(x) = x, under one drive a row when ``drives`` (rows, inputs) are given."""

    def drive(rows: Tensor) -> Any:
        return None if drives is None else drives[rows]

    def gaps(states: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return dynamics(states, drive(rows)) - states

    def slopes(states: Tensor, rows: Tensor) -> Tensor:
        return jacobian(dynamics, states, drive(rows)) - torch.eye(dynamics.dim).to(states)

    def normal_equations(states: Tensor, G: Tensor, rows: Tensor) -> Model:
        normals, gradients = states.new_empty(*states.shape, dynamics.dim), torch.empty_like(states)
        for part in _parts(len(states), dynamics.dim**2, states.device):
            A = slopes(states[part], rows[part])
            normals[part], gradients[part] = A.mT @ A, (G[part, None, :] @ A)[:, 0]
        return normals, gradients

    def newton(states: Tensor, G: Tensor, rows: Tensor) -> Tensor:
        d = torch.empty_like(states)
        for part in _parts(len(states), dynamics.dim**2, states.device):
            d[part] = torch.linalg.solve_ex(slopes(states[part], rows[part]), -G[part])[0]
        return d

    def krylov(states: Tensor, G: Tensor, rows: Tensor) -> Model:
        return _krylov_model(lambda v: push(dynamics, states, v[..., None], drive(rows))[1][..., 0] - v, G)

    if dynamics.dim <= WIDEST_DENSE:
        return Equation(
            gaps, normal_equations, lambda model, mu: solved(model[0], model[1], mu), newton, dynamics.dim**2
        )
    return Equation(
        gaps, krylov, _krylov_step,
        lambda states, G, rows: _krylov_step(krylov(states, G, rows), torch.zeros(len(states)).to(states)),
        KRYLOV * (dynamics.dim + KRYLOV), patience=4,
    )  # fmt: skip


def shooting_equation(dynamics: Dynamics, k: int) -> Equation:
    """F(x_i) = x_(i+1) around a cycle of k states, laid side by side."""
    dim = dynamics.dim

    def orbits(flat: Tensor) -> Tensor:
        return flat.reshape(len(flat), k, dim)

    def gaps(flat: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            after = dynamics(flat.reshape(-1, dim)).reshape(len(flat), k, dim)
        return (after - orbits(flat).roll(-1, 1)).reshape(flat.shape)

    def normal_equations(flat: Tensor, G: Tensor, rows: Tensor) -> Model:
        """Diagonal blocks J_i'J_i + I and the coupling -J_i' of d_i with d_(i+1), and A'G."""
        J = flat.new_empty(len(flat), k, dim, dim)
        for part in _parts(len(flat), k * dim**2, flat.device):
            J[part] = jacobian(dynamics, flat[part].reshape(-1, dim)).reshape(-1, k, dim, dim)
        gradients = (J.mT @ orbits(G)[..., None])[..., 0] - orbits(G).roll(1, 1)
        return J.mT @ J + torch.eye(dim).to(J), -J.mT, gradients

    def step(model: Model, mu: Tensor) -> Tensor:
        diagonal, coupling, gradients = model
        return _cyclic_solve(diagonal, coupling, gradients, mu).reshape(len(mu), -1)

    return Equation(
        gaps, normal_equations, step,
        lambda flat, G, rows: step(normal_equations(flat, G, rows), torch.zeros(len(flat)).to(flat)),
        2 * k * dim**2,
    )  # fmt: skip


def polished(
    equation: Equation, states: Tensor, *, box: Box | None, rows: Tensor | None = None, steps: int = 8
) -> tuple[Tensor, Tensor]:
    """Newton's method from states that are almost roots, as long as |G| falls: (states, residuals)."""
    rows = torch.arange(len(states), device=states.device) if rows is None else rows
    gaps = equation.gaps(states, rows)
    residuals = gaps.norm(dim=1)
    for _ in range(steps if len(states) else 0):
        d = equation.newton(states, gaps, rows)
        trial = torch.where(torch.isfinite(d).all(1, keepdim=True), states + d, states)
        trial = trial if box is None else torch.clamp(trial, *box)
        trial_gaps = equation.gaps(trial, rows)
        better = trial_gaps.norm(dim=1) < residuals
        if not better.any():
            break
        states = torch.where(better[:, None], trial, states)
        gaps = torch.where(better[:, None], trial_gaps, gaps)
        residuals = gaps.norm(dim=1)
    return states, residuals


def anderson(
    equation: Equation, states: Tensor, rows: Tensor, *, box: Box | None, tolerance: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Anderson acceleration of x -> x + G(x) with a memory of ``ANDERSON`` steps: (states, residuals) at the smallest |G|.

    Type II of Walker and Ni, SIAM J. Numer. Anal. 49, 2011, section 2; needs no slope, and reaches stable rests mostly.
    """
    best, gaps = states.clone(), equation.gaps(states, rows)
    sizes = gaps.norm(dim=1)
    moved: list[Tensor] = []
    changed: list[Tensor] = []
    for _ in range(steps if len(states) else 0):
        d = gaps
        if moved:
            dX, dG = torch.stack(moved, 2), torch.stack(changed, 2)
            normals = dG.mT @ dG
            normals = normals + 1e-12 * torch.diag_embed(normals.diagonal(dim1=1, dim2=2) + 1e-300)
            weights = torch.linalg.solve_ex(normals, dG.mT @ gaps[..., None])[0]
            mixed = gaps - ((dX + dG) @ weights)[..., 0]
            d = torch.where(torch.isfinite(mixed).all(1, keepdim=True), mixed, gaps)
        new = states + d if box is None else torch.clamp(states + d, *box)
        after = equation.gaps(new, rows)
        moved, changed = [*moved, new - states][-ANDERSON:], [*changed, after - gaps][-ANDERSON:]
        states, gaps = new, after
        better = gaps.norm(dim=1) < sizes
        best, sizes = torch.where(better[:, None], states, best), torch.where(better, gaps.norm(dim=1), sizes)
        if (sizes <= tolerance).all():
            break
    return best, sizes


def solved(normals: Tensor, gradients: Tensor, mu: Tensor) -> Tensor:
    """(A'A + mu I)^-1 (-A'G) by Cholesky; where mu was too small for it, no step (the trial fails and mu grows)."""
    damped = normals + torch.diag_embed(mu[:, None].expand_as(gradients))
    factor, failed = torch.linalg.cholesky_ex(damped)
    d = -torch.cholesky_solve(gradients[..., None], factor)[..., 0]
    return torch.where((failed == 0)[:, None], d, torch.zeros_like(d))


def _parts(rows: int, entries: int, device: torch.device) -> tuple[Tensor, ...]:
    """Row numbers in parts of at most ``ENTRIES`` numbers."""
    return torch.arange(rows, device=device).split(max(1, ENTRIES // entries))


def arnoldi(times: Callable[[Tensor], Tensor], first: Tensor, size: int, enough: Any = None) -> tuple[Tensor, Tensor]:
    """V (batch, size + 1, dim) with orthonormal rows and H (batch, size + 1, size), A V_j = sum_i H_ij V_i, row by row.

    Each vector is orthogonalised twice. Where the space is exhausted the rest of V and H is 0. ``enough(j, H)`` may end early.
    """
    batch, dim = first.shape
    V, H = first.new_zeros(batch, size + 1, dim), first.new_zeros(batch, size + 1, size)
    V[:, 0] = first / first.norm(dim=1, keepdim=True).clamp(min=1e-300)
    for j in range(size):
        w = times(V[:, j])
        whole = w.norm(dim=1)
        for _ in range(2):
            along = (V[:, : j + 1] @ w[..., None])[..., 0]
            w = w - (along[:, None] @ V[:, : j + 1])[:, 0]
            H[:, : j + 1, j] += along
        left = w.norm(dim=1)
        left = torch.where(left > 1e-14 * whole, left, torch.zeros_like(left))
        H[:, j + 1, j] = left
        V[:, j + 1] = torch.where(left[:, None] > 0, w / left.clamp(min=1e-300)[:, None], torch.zeros_like(w))
        if enough is not None and j % 4 == 3 and enough(j + 1, H):
            break
    return V, H


def _krylov_model(times: Callable[[Tensor], Tensor], G: Tensor) -> Model:
    """H'H, H'b and the basis: the normal equations of min |G + A V y|."""
    size = min(KRYLOV, G.shape[1])
    beta = G.norm(dim=1)

    def normal(H: Tensor) -> tuple[Tensor, Tensor]:
        normals = H.mT @ H
        unused = (normals.diagonal(dim1=1, dim2=2) == 0).to(H)
        return normals + torch.diag_embed(unused), beta[:, None] * H[:, 0]

    def enough(j: int, H: Tensor) -> bool:
        normals, gradients = normal(H[:, : j + 1, :j])
        y = solved(normals, gradients, 1e-14 * normals.diagonal(dim1=1, dim2=2).amax(1))
        misfit = (H[:, : j + 1, :j] @ y[..., None])[..., 0]
        misfit[:, 0] += beta
        return bool((misfit.norm(dim=1) <= FORCING * beta).to(beta).mean() >= MOST)

    V, H = arnoldi(times, G, size, enough)
    return *normal(H), V[:, :size]


def _krylov_step(model: Model, mu: Tensor) -> Tensor:
    normals, gradients, basis = model
    floor = 1e-14 * normals.diagonal(dim1=1, dim2=2).amax(1)
    return (solved(normals, gradients, torch.maximum(mu, floor))[:, None] @ basis)[:, 0]


def _cyclic_solve(diagonal: Tensor, coupling: Tensor, gradients: Tensor, mu: Tensor) -> Tensor:
    """(T + mu I) d = -g for a symmetric block cyclic tridiagonal T, by block Cholesky with the last block as a border.

    T_ii = diagonal_i, T_i,i+1 = coupling_i, T_k-1,0 = coupling_k-1; all (batch, k, dim, dim). The unknowns before the last are
    eliminated forwards; each carries its coupling to the last block along.
    """
    batch, k, dim, _ = diagonal.shape
    eye = torch.eye(dim).to(diagonal)
    D = diagonal + mu[:, None, None, None] * eye
    if k == 2:  # both couplings join the same two blocks
        whole = torch.cat(
            [torch.cat([D[:, 0], coupling[:, 0] + coupling[:, 1].mT], 2),
             torch.cat([coupling[:, 0].mT + coupling[:, 1], D[:, 1]], 2)], 1,
        )  # fmt: skip
        return solved(whole, gradients.reshape(batch, -1), torch.zeros_like(mu)).reshape(batch, k, dim)
    last, right = D[:, -1], -gradients[:, -1]
    border = coupling[:, -1].mT  # of block 0 with the last one
    factors, borders, sides = [], [], []
    block, side = D[:, 0], -gradients[:, 0]
    bad = torch.zeros(batch, dtype=torch.int32, device=mu.device)
    for i in range(k - 1):
        factor, failed = torch.linalg.cholesky_ex(block)
        bad |= failed
        to_next = coupling[:, i] if i < k - 2 else coupling[:, i] + border
        both = torch.cholesky_solve(torch.cat([to_next, border, side[..., None]], 2), factor)
        solved_next, solved_border, solved_side = both[..., :dim], both[..., dim : 2 * dim], both[..., 2 * dim]
        factors.append(solved_next)
        borders.append(solved_border)
        sides.append(solved_side)
        if i == k - 2:
            last = last - to_next.mT @ solved_next
            right = right - (to_next.mT @ solved_side[..., None])[..., 0]
        else:
            last = last - border.mT @ solved_border
            right = right - (border.mT @ solved_side[..., None])[..., 0]
            block = D[:, i + 1] - to_next.mT @ solved_next
            side = -gradients[:, i + 1] - (to_next.mT @ solved_side[..., None])[..., 0]
            border = -(to_next.mT @ solved_border)
    factor, failed = torch.linalg.cholesky_ex(last)
    bad |= failed
    d = [torch.cholesky_solve(right[..., None], factor)[..., 0]]
    for i in range(k - 2, -1, -1):
        following = (factors[i] @ d[-1][..., None])[..., 0]
        if i < k - 2:
            following = following + (borders[i] @ d[0][..., None])[..., 0]
        d.append(sides[i] - following)
    return torch.where((bad == 0)[:, None, None], torch.stack(d[::-1], 1), torch.zeros_like(gradients))
