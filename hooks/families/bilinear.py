"""Bilinear recurrences as maps: h' = A(x) h, A(x) = sum over k of x_k A_k, the state normalised after each step.

No bias and no additive input, so that a readout without an offset says the same of h and of any positive multiple of
it, and the length of h may be kept at 1. With one-hot inputs each symbol is one matrix: such a network is any automaton
whose symbols act linearly, and a group's when they are a representation of it.

Source: Ebrahimi and Memisevic, "Revisiting bi-linear state transitions in recurrent neural networks" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from hooks.dynamics import Dynamics, TensorLike, digest
from hooks.errors import InputError


def bilinear(A: Tensor, *, W_y: Tensor | None = None, normalised: bool = True) -> Dynamics:
    """The driven map of a bilinear recurrence.

    Parameters
    ----------
    A : (inputs, dim, dim)
        The matrix of each input; of a diagonal network, ``torch.diag_embed`` of its vectors.
    W_y : (outputs, dim)
        Linear readout without offset.
    normalised
        Divide the state by its 2-norm after each step; a state that A sends to 0 stays there.

    Returns
    -------
    Dynamics
        Its hand-written slope is (I - u u') A(x) / |A(x) h| at u = A(x) h / |A(x) h|; without normalisation, A(x).

    Raises
    ------
    InputError
        When the matrices are not square, or the readout does not fit.
    """
    if A.ndim != 3 or A.shape[1] != A.shape[2] or (W_y is not None and W_y.shape[1] != A.shape[1]):
        came = None if W_y is None else tuple(W_y.shape)
        raise InputError(
            f"A is (inputs, dim, dim) and the readout (outputs, dim), but {tuple(A.shape)} and {came} came"
        )
    matrices = A.detach().double().cpu().clone()
    read = None if W_y is None else W_y.detach().double().cpu().clone()

    def transition(drive: Tensor) -> Tensor:
        return torch.tensordot(drive, matrices, dims=1)  # (dim, dim), or (batch, dim, dim)

    def applied(states: TensorLike, drive: Tensor) -> TensorLike:
        matrix = transition(drive)
        return linear(states, matrix) if matrix.ndim == 2 else torch.einsum("bij,bj->bi", matrix, states)

    def step(states: TensorLike, drive: Tensor) -> TensorLike:
        moved = applied(states, drive)
        return moved / _length(moved) if normalised else moved

    def push(states: Tensor, tangents: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
        moved, carried = applied(states, drive), transition(drive) @ tangents
        if not normalised:
            return moved, carried
        length = _length(moved)
        unit = moved / length
        along = unit[:, None] @ carried
        return unit, (carried - unit[..., None] * along) / length[..., None]

    def jacobian(states: Tensor, drive: Tensor) -> Tensor:
        return push(states, torch.eye(states.shape[1], dtype=states.dtype).expand(len(states), -1, -1), drive)[1]

    return Dynamics(
        step=step,
        dim=A.shape[1],
        name=f"bilinear RNN, {A.shape[1]} units",
        driven=True,
        inputs=len(A),
        jacobian=jacobian,
        push=push,
        readout=None if read is None else lambda states: linear(states, read),
        fingerprint=digest("bilinear", matrices, read, normalised),
        weights={
            "family": "bilinear",
            "A": matrices,
            "normalised": int(normalised),
            **({} if read is None else {"W_y": read}),
        },
    )


def _length(states: TensorLike) -> TensorLike:
    """(batch, 1), 1 where a state is 0."""
    norms = states.norm(dim=-1, keepdim=True)
    return norms + (norms == 0)
