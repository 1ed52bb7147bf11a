"""Loss and gradient of piecewise-linear recurrences under teacher forcing, many models at once, without autograd.

Model: z' = A z + W r + h with r = max(u, floor) and u = z (almost linear) or u = V z + g (one hidden layer). A floor of 0
rectifies a unit, one of -inf leaves it linear, so that models with different numbers of rectified units share a batch. At
step 0 and every ``every`` steps the readout, the first N entries, is replaced by (1 - alpha) z + alpha x before it is stepped,
after the loss has been taken, and the gradient through it is scaled by 1 - alpha: alpha = 1 is sparse identity forcing with
the gradient cut (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024), every = 1 generalised forcing (Hess, Monfared, Brenner,
Durstewitz, ICML 2023).

The steps between two forcings can't be run side by side: entries beyond the readout carry on. So there is one loop over time
each way, of a few operations a step on all models, with forward states kept. Axes: models, steps, batch, dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Weights:
    """Of all models: A, h (models, dim), W (models, dim, units), floor, g (models, units), V (models, units, dim)."""

    A: Tensor
    W: Tensor
    h: Tensor
    floor: Tensor
    V: Tensor | None = None
    g: Tensor | None = None

    def wide(self, batch: int) -> Weights:
        """Vectors repeated over the batch: elementwise operations on equal shapes need no broadcasting."""
        A, h, floor, g = (
            None if w is None else w[:, None].expand(-1, batch, -1).contiguous()
            for w in (self.A, self.h, self.floor, self.g)
        )
        assert A is not None and h is not None and floor is not None
        return Weights(A, self.W.mT.contiguous(), h, floor, None if self.V is None else self.V.mT.contiguous(), g)


@dataclass(frozen=True, eq=False)
class Room:
    """Buffers of one update, kept from one to the next with their views by step; entries mean nothing in between."""

    z: Tensor  # (models, steps + 1, batch, dim)
    u: Tensor  # (models, steps, batch, units); without a hidden layer z itself
    r: Tensor  # (models, steps, batch, units)
    slopes: Tensor  # as z: d loss / d z
    inner: Tensor  # as r: d loss / d u, of a hidden layer
    error: Tensor  # (readout, models, steps, batch)

    @classmethod
    def of(cls, weights: Weights, outputs: int, steps: int, batch: int) -> Room:
        models, dim, units = weights.W.shape
        z = weights.A.new_empty(models, steps + 1, batch, dim)
        u = z if weights.V is None else z.new_empty(models, steps, batch, units)
        r = z.new_empty(models, steps, batch, units)
        inner = r[:, :1] if weights.V is None else torch.empty_like(r)
        return cls(z, u, r, torch.empty_like(z), inner, z.new_empty(outputs, models, steps, batch))

    @cached_property
    def steps(self) -> tuple[tuple[Tensor, ...], ...]:
        """By step: z, u, r, slopes, inner; the readout in z and in slopes; the error as (models, batch, readout)."""
        said, said_slopes = (buffer[..., : len(self.error)] for buffer in (self.z, self.slopes))
        buffers = (self.z, self.u, self.r, self.slopes, self.inner, said, said_slopes, self.error.movedim(0, -1))
        return tuple(buffer.unbind(1) for buffer in buffers)


def loss_and_gradient(
    weights: Weights, start: Tensor, inputs: Tensor, targets: Tensor, *, every: int, alpha: Tensor, room: Room
) -> tuple[Tensor, Weights, Tensor]:
    """Mean squared error of the readout (models,), its gradient by the weights (floor aside) and by the start.

    Parameters
    ----------
    start : (models, batch, dim)
    inputs : (readout, models, forcings, batch)
        x at steps every, 2 every, ..; the start has its own.
    targets : (readout, models, steps, batch)
        x at steps 1, .., steps.
    alpha : (models,)
    room
        Of these sizes.
    """
    models, steps, batch, units = room.r.shape
    outputs = len(targets)
    wide = weights.wide(batch)
    keep = (1 - alpha)[:, None, None]
    forced = inputs * alpha[:, None, None]
    z, u, r, slopes, inner, said, said_slopes, errors = room.steps
    before = []
    product, hidden = torch.empty_like(start), r[0].new_empty(models, batch, units)

    z[0].copy_(start)
    for t in range(steps):
        if t and t % every == 0:
            before.append(said[t].clone())
            said[t].copy_(torch.addcmul(forced[:, :, len(before) - 1].movedim(0, -1), said[t], keep))
        if wide.V is not None and wide.g is not None:
            torch.baddbmm(wide.g, z[t], wide.V, out=hidden)
            u[t].copy_(hidden)
        torch.maximum(u[t], wide.floor, out=r[t])
        torch.baddbmm(wide.h, r[t], wide.W, out=product)
        torch.addcmul(product, wide.A, z[t], out=z[t + 1])

    error = torch.sub(room.z[:, 1:, :, :outputs].movedim(-1, 0), targets, out=room.error)
    for number, unforced in enumerate(before, 1):
        t = number * every - 1
        torch.sub(unforced.movedim(-1, 0), targets[:, :, t], out=error[:, :, t])
    loss = error.square().mean((0, 2, 3))
    error.mul_(2 / error[:, 0].numel())

    gate = torch.empty_like(hidden)
    slopes[steps].zero_()
    said_slopes[steps].copy_(errors[-1])
    for t in range(steps - 1, -1, -1):
        torch.bmm(slopes[t + 1], weights.W, out=hidden)
        back = hidden.mul_(torch.gt(u[t], wide.floor, out=gate))
        if weights.V is not None:
            inner[t].copy_(hidden)
            back = torch.bmm(hidden, weights.V, out=product)
        torch.addcmul(back, wide.A, slopes[t + 1], out=slopes[t])
        if t and t % every == 0:
            said_slopes[t].mul_(keep)
        if t:
            said_slopes[t].add_(errors[t - 1])

    after, now, rectified = room.slopes[:, 1:].flatten(1, 2), room.z[:, :-1].flatten(1, 2), room.r.flatten(1, 2)
    W, h = after.mT @ rectified, after.sum(1)
    if weights.V is None:  # r = z where no model rectifies: the gradient by A is the diagonal of W's
        cut = int((weights.floor == -torch.inf).all(0).sum())
        A = torch.diagonal(W, dim1=1, dim2=2).clone()
        A[:, cut:] = torch.diagonal(after[..., cut:].mT @ now[..., cut:], dim1=1, dim2=2)
        return loss, Weights(A, W, h, weights.floor), slopes[0]
    within = room.inner.flatten(1, 2)
    return loss, Weights((after * now).sum(1), W, h, weights.floor, within.mT @ now, within.sum(1)), slopes[0]
