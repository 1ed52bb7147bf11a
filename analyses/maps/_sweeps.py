"""The loop of ``lyapunov_spectrum``: orbits of all starts with tangents that are carried along and kept apart.

Discrete QR with orthonormalisation before the tangents part by more than ``PARTED``. When all directions are wanted, the same
push carries two controls beside them: frames that stay within one layer of a block-triangular stack, and the product of the
slopes since the last orthonormalisation, whose determinant is taken by LU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from hooks.dynamics import Dynamics, digest
from hooks.tangent import pushed

TAIL = 256  # states kept of the last half of each run, evenly spaced, to tell attractors apart
LAST = 128  # last states, for the period
BLOCKS = 32  # of which means are taken for the standard error
WIDE = 1024  # coordinates; of wider states, rings hold a sketch and frames are orthonormalised in place, for memory
SKETCH = 256  # sums over random signs: distances to 1 / sqrt(SKETCH), 6 %, and what repeats still repeats
WIDEST_DETERMINANT = 64  # the sum rule carries as many tangents again; wider maps go without
PARTED = 1e4  # ratio of the longest to the shortest tangent at which the frame is orthonormalised: costs four digits of sixteen
STEEPEST = 200.0  # ln of a tangent's length at which it is orthonormalised: far from overflow, at 709
LONGEST = 32  # steps between orthonormalisations at most
LOOSE = 1e-2  # of Q'Q from 1 after one pass of CholeskyQR: a condition of some 1e7 in float64; beyond, Householder's QR
AT_ONCE = 1 << 18  # numbers of a frame in one triangular solve, which copies them


@dataclass(frozen=True, eq=False)
class Sweep:
    """All starts after one more step, in fixed size: what a saved run consists of.

    The rings, ``blocks`` and ``reach`` are written in place, and so that a step taken again writes the same: also a state that
    an interrupted step left behind resumes exactly.
    """

    settings: str  # of the run it belongs to
    step: int
    states: Tensor  # (starts, dim)
    frame: Tensor  # (starts, dim, columns): the directions, then those within layers, then the product of the slopes
    grown: Tensor  # (frames, starts, directions) growth in the open block up to the last orthonormalisation
    blocks: Tensor  # (blocks, frames, starts, directions) growth summed within each block
    log_det: Tensor  # (starts,)
    tail: Tensor  # (starts, tail, dim or sketch), a ring of every (steps / 2 tail)-th state
    last: Tensor  # (starts, last, dim or sketch), a ring
    reach: Tensor  # (2, 3, starts), largest and smallest largest coordinate in the second, third and last quarter of the run
    speed: Tensor  # (starts,) length of the first step after the burn-in
    longest: int  # steps between orthonormalisations that the fastest passage so far allows
    interval: int  # steps to the next
    since: int  # steps since the last one: their growth is still in the frame
    pushes: str = ""  # how the frame was carried: what ``hooks.tangent.pushed`` chose, and why


def block_length(steps: int) -> int:
    """Steps in a block."""
    return max(1, -(-steps // BLOCKS))


def stride_length(steps: int) -> int:
    """Steps between the states kept to tell attractors apart: a map that approximates a flow needs many for a turn."""
    return max(1, steps // (2 * TAIL))


def settings_of(dynamics: Dynamics, starts: Tensor, driving: Tensor | None, steps: int, burn_in: int, k: int) -> str:
    """What a saved run belongs to. A map without a fingerprint is known by where it takes the starts in one step."""
    with torch.no_grad():
        known = dynamics.fingerprint or digest(dynamics(starts, None if driving is None else driving[..., 0, :]))
    return (
        f"{dynamics.name} <{known}> in {str(dynamics.dtype).removeprefix('torch.')}, {len(starts)} starts <{digest(starts)}>, "
        f"{steps} steps after {burn_in}, {k} directions, {'no drives' if driving is None else f'drives <{digest(driving)}>'}"
    )


def sweeps(
    dynamics: Dynamics,
    begin: Sweep,
    *,
    steps: int,
    burn_in: int,
    driving: Tensor | None,
) -> Iterator[Sweep]:
    """From ``begin``, the run's beginning or a copy of a saved state of it, to the end. Its rings and blocks are written."""
    states, frame, grown, log_det, speed = begin.states, begin.frame, begin.grown, begin.log_det, begin.speed
    blocks, tail, last, reach = begin.blocks, begin.tail, begin.last, begin.reach
    longest, interval, since = begin.longest, begin.interval, begin.since
    settings, done = begin.settings, begin.step
    del begin  # its frame may be most of the memory
    k, length, stride = blocks.shape[3], block_length(steps), stride_length(steps)
    outside, sketch = _outside_layers(dynamics, k, frame), _sketching(states)
    first = None if driving is None else driving[..., 0, :]
    push = pushed(dynamics, states, frame, first, steps=burn_in + steps)
    for step in range(done, burn_in + steps):
        drive = None if driving is None else driving[..., step, :]
        before, given = states, frame.data_ptr()  # a push may give back what it was given, which the last sweep holds
        states, frame = push(states, frame, drive)
        # one layout in memory, saved or not: with another, matrix products differ in their last bits
        states, frame = states.contiguous(), frame.contiguous()
        if outside is not None:
            frame = frame.masked_fill(outside, 0.0)
        taken, since = step + 1 - burn_in, since + 1
        last[:, step % LAST] = kept = sketch(states)
        if step % stride == 0:
            tail[:, step // stride % TAIL] = kept
        if taken == 1:
            speed = (states - before).norm(dim=1)
        if since >= interval or taken % length == 0 or 4 * taken % steps < 4:  # the end of a block, of a quarter
            frame, logs, log_dets = renewed(frame, grown, in_place=frame.data_ptr() != given)
            if taken > 0:
                grown, log_det = grown + logs, log_det + log_dets
                blocks[(taken - 1) // length] = grown
                grown = torch.zeros_like(grown) if taken % length == 0 else grown
                quarter = 4 * (taken - 1) // steps
                if quarter > 0:
                    sizes = last[:, torch.arange(step + 1 - since, step + 1) % LAST].abs().amax(2)
                    reach[0, quarter - 1] = torch.maximum(reach[0, quarter - 1], sizes.amax(1))
                    reach[1, quarter - 1] = torch.minimum(reach[1, quarter - 1], sizes.amin(1))
            longest = min(longest, _allowed(logs, since))
            interval, since = min(longest, 2 * since), 0  # a slow passage alone would let the frame collapse
        rings = tail, last, reach, speed
        yield Sweep(
            settings, step + 1, states, frame, grown, blocks, log_det, *rings, longest, interval, since, push.note
        )


def beginning(dynamics: Dynamics, states: Tensor, k: int, settings: str) -> Sweep:
    """The state before the first step."""
    starts, dim = states.shape
    frames = 2 if dynamics.layers and k == dim else 1
    full = k == dim and dim <= WIDEST_DETERMINANT
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(starts, dim, k, generator=generator, dtype=torch.float64).to(states)
    if frames > 1 or full:
        product = [torch.eye(dim).to(states).expand(starts, dim, dim)] if full else []
        frame = torch.cat([frame] * frames + product, 2)
    outside = _outside_layers(dynamics, k, frame)
    frame = frame if outside is None else frame.masked_fill(outside, 0.0)
    grown, kept = states.new_zeros(frames, starts, k), _sketching(states)(states)
    return Sweep(
        settings=settings,
        step=0,
        states=states,
        frame=renewed(frame, grown, in_place=True)[0],
        grown=grown,
        blocks=states.new_zeros(BLOCKS, frames, starts, k),
        log_det=states.new_zeros(starts),
        tail=kept[:, None].repeat(1, TAIL, 1),
        last=kept[:, None].repeat(1, LAST, 1),
        reach=torch.stack([states.new_zeros(3, starts), states.new_full((3, starts), float("inf"))]),
        speed=states.new_zeros(starts),
        longest=LONGEST,
        interval=1,
        since=0,
    )


def growth(sweep: Sweep, *, steps: int, burn_in: int) -> tuple[Tensor, Tensor]:
    """(blocks, frames, starts, directions) growth in the blocks that were begun, and (starts,) ln |det| of all slopes."""
    done, length = sweep.step - burn_in, block_length(steps)
    blocks, log_det = sweep.blocks[: -(-done // length)].clone(), sweep.log_det
    if sweep.since:  # stopped between two orthonormalisations
        _, logs, log_dets = renewed(sweep.frame, sweep.grown)
        blocks[-1], log_det = sweep.grown + logs, log_det + log_dets
    return blocks, log_det


def renewed(frame: Tensor, grown: Tensor, *, in_place: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The frame orthonormalised, with ln of how much its directions and (starts,) its volumes had grown."""
    frames, starts, k = grown.shape
    if frame.shape[1] > WIDE and frame.shape[2] == k:
        frame = frame if in_place else frame.clone()
        return frame, _growth_of(frame, cholesky_qr(frame))[None], grown.new_zeros(starts)
    parts = frame.unflatten(2, (-1, k)).movedim(2, 0)
    Q, logs = orthonormal(parts[:frames].flatten(0, 1))
    renewed, log_dets = list(Q.unflatten(0, (frames, starts))), grown.new_zeros(starts)
    if len(parts) > frames:
        log_dets = torch.linalg.slogdet(parts[-1])[1]
        renewed.append(torch.eye(k).to(frame).expand(starts, k, k))
    # joined also where there is one: Q's own layout is another than a saved one's
    return torch.cat(renewed, 2), logs.unflatten(0, (frames, starts)), log_dets


def orthonormal(frame: Tensor) -> tuple[Tensor, Tensor]:
    """The frame orthonormalised, and ln of how much each of its directions had grown."""
    if frame.is_cuda:
        Q = frame.clone()
        return Q, _growth_of(Q, cholesky_qr(Q))
    Q, R = torch.linalg.qr(frame)
    return Q, _growth_of(Q, R)


def _growth_of(Q: Tensor, R: Tensor) -> Tensor:
    """ln |diagonal of R|; the signs of the diagonal go into Q."""
    stretch = torch.diagonal(R, dim1=1, dim2=2)
    Q.mul_(torch.where(stretch < 0, -1.0, 1.0).to(Q)[:, None, :])
    return stretch.abs().log()


def cholesky_qr(frame: Tensor) -> Tensor:
    """R of the frames, which become Q, by CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, ETNA 44, 2015).

    Batched products, with no second frame in memory. A first pass squares the condition of a frame, which shows in how far
    its Q is from orthonormal; frames where that is more than ``LOOSE``, or where a factor does not exist, are left to
    Householder's QR.
    """
    lengths = frame.norm(dim=1, keepdim=True)
    frame.div_(torch.where(lengths > 0, lengths, 1.0))
    R, failed = torch.diag_embed(lengths[:, 0]), torch.zeros_like(frame[:, 0, 0], dtype=torch.bool)
    one = torch.eye(frame.shape[2]).to(frame)
    rows = max(1, AT_ONCE // (len(frame) * frame.shape[2]))
    for number in range(2):
        gram = frame.mT @ frame
        lower, trouble = torch.linalg.cholesky_ex(gram)
        failed |= trouble != 0
        if number:
            failed |= ~((gram - one).abs().amax((1, 2)) <= LOOSE)  # also where it is NaN
        lower = torch.where(failed[:, None, None], one, lower)
        for part in frame.split(rows, dim=1):
            part.copy_(torch.linalg.solve_triangular(lower.mT, part, upper=True, left=False))
        R = lower.mT @ R
    if failed.any():
        frame[failed], rest = torch.linalg.qr(frame[failed])
        R[failed] = rest @ R[failed]
    return R


def _allowed(logs: Tensor, since: int) -> int:
    """Steps until directions that go on like this are ``PARTED`` or ``STEEPEST``; 1 where one was annihilated."""
    logs = logs.flatten(0, 1)
    logs = logs[~logs.isnan().any(1)]  # without the starts that overflowed
    if not logs.numel():
        return LONGEST
    spread, steepest = (logs.amax(1) - logs.amin(1)).max(), logs.abs().max()
    parting, steep = float(spread) / since, float(steepest) / since
    if not math.isfinite(parting + steep):
        return 1
    return min(LONGEST, max(1, int(min(math.log(PARTED) / max(parting, 1e-9), STEEPEST / max(steep, 1e-9)))))


def _sketching(states: Tensor) -> Callable[[Tensor], Tensor]:
    """What the rings hold of states (starts, dim): themselves, or a count sketch (Charikar, Chen, Farach-Colton, 2002)."""
    dim = states.shape[1]
    if dim <= WIDE:
        return lambda now: now
    signs = 2 * torch.randint(2, (dim,), generator=torch.Generator().manual_seed(0)).to(states) - 1
    return lambda now: pad(now * signs, (0, -dim % SKETCH)).unflatten(1, (-1, SKETCH)).sum(1)


def _outside_layers(dynamics: Dynamics, k: int, frame: Tensor) -> Tensor | None:
    """(dim, columns) bool: the coordinates off its own layer of each direction that stays within one; None without layers."""
    if not dynamics.layers or k < dynamics.dim:
        return None
    layer = torch.tensor(dynamics.layers, device=frame.device)
    outside = torch.zeros(frame.shape[1:], dtype=torch.bool, device=frame.device)
    outside[:, k : 2 * k] = layer[:, None] != layer
    return outside


def copied(sweep: Sweep, device: str) -> Sweep:
    """On this device, and its own."""
    values = {field.name: getattr(sweep, field.name) for field in fields(sweep)}
    copied: dict[str, Any] = {
        name: value.to(device).clone() for name, value in values.items() if isinstance(value, Tensor)
    }
    return replace(sweep, **copied)
