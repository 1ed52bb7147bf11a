"""Which linear regions of z' = A z + W phi(z) + h hold a fixed point: rigorous bounds in float64, region by region.

With a base region whose G_0 = I - J_0 is regular, fixed points satisfy z = t + T w, t = G_0^-1 h and T = +-G_0^-1 W: w_i is z_i
where unit i differs from the base and 0 where it agrees. Deciding a unit either drops a column of T or is one principal
pivot, so the 2^P regions are the leaves of a tree whose nodes share their work. Every entry is a ball (midpoint, radius)
widened by its rounding; a subtree is dropped once a row of T shows that a decided unit cannot have its sign.

Arrays are (units, columns, nodes), so that the long axis is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from hooks.enclosure import EPS, TINY, Ball
from hooks.families import PiecewiseLinear

NODES = 4096  # nodes worked on at once
ILL = 1e6  # a base region of larger condition number is looked for elsewhere
CANDIDATES = 64


@dataclass(frozen=True, eq=False)
class Share:
    """What one batch of the walk settled."""

    real: Tensor  # (regions, relu) bool: each holds exactly one fixed point, and I - J is regular
    open: Tensor  # (regions, relu) bool: the bounds do not decide them
    empty: int  # regions without a fixed point


@dataclass(frozen=True, eq=False)
class Nodes:
    """Subtrees of equal depth: z_rectified = sum_j T_j w_j + t over the undecided units j, t the last column."""

    on: Tensor  # (decided, nodes) bool
    mid: Tensor  # (relu, undecided + 1, nodes)
    rad: Tensor


def batches(relu: int) -> int:
    """About the most shares that ``walk`` yields."""
    return 2 ** (relu + 1) // NODES + relu + 1


def walk(network: PiecewiseLinear) -> Iterator[Share]:
    """Every region once, as real, open or empty. Units whose pivot is small in the base come last, near the leaves."""
    base, table = root(network)
    rectified = table[len(network.A) - network.relu :]
    regular = bool(torch.isfinite(table.rad).all())
    order = (1 - rectified.mid.diagonal()).abs().argsort(descending=True, stable=True)
    columns = torch.cat([order, order.new_tensor([network.relu])])
    for share in _leaves(base[order], rectified[order][:, columns], regular):
        yield Share(share.real[:, order.argsort()], share.open[:, order.argsort()], share.empty)


def _leaves(base: Tensor, table: Ball, regular: bool) -> Iterator[Share]:
    """The walk itself, depth first over batches of nodes."""
    relu = len(base)
    none = base.new_zeros(0, relu)
    side = torch.where(base, -1.0, 1.0).double()  # the sign of w_i, where unit i differs from the base
    root = Nodes(base.new_zeros(0, 1), table.mid[..., None], table.rad[..., None])
    stack: list[Nodes | Tensor] = [root if regular else root.on]
    while stack:
        nodes = stack.pop()
        if isinstance(nodes, Tensor):  # a pivot was too close to 0: all regions below are open
            depth = len(nodes)
            if nodes.shape[1] << (relu - depth) <= NODES:
                regions = _completed(nodes, relu)
                yield alone(table, base, regions) if regular else Share(none, regions, 0)
            else:
                stack.extend(torch.cat([nodes, torch.full_like(nodes[:1], value)]) for value in (False, True))
            continue
        depth = len(nodes.on)
        if depth == relu:
            share = _by_signs(Ball(nodes.mid[:, 0].T, nodes.rad[:, 0].T), nodes.on.T)
            again = alone(table, base, share.open)
            yield Share(torch.cat([share.real, again.real]), again.open, share.empty + again.empty)
            continue
        flipped, lost = _flipped(nodes, ~base[depth])
        kept = _decided(nodes.on, base[depth]), nodes.mid[:, 1:], nodes.rad[:, 1:]
        on = torch.cat([kept[0], flipped.on], dim=-1)
        mid, rad = torch.cat([kept[1], flipped.mid], dim=-1), torch.cat([kept[2], flipped.rad], dim=-1)
        possible = ~_impossible(Nodes(on, mid, rad), side[depth + 1 :])
        empty = int((~possible).sum()) << (relu - depth - 1)
        rows = torch.nonzero(possible)[:, 0]
        parts = rows.chunk(-(-len(rows) // NODES)) if len(rows) else ()
        stack.extend(Nodes(on[:, part], mid[..., part], rad[..., part]) for part in parts)
        if lost.shape[1]:
            stack.append(lost)
        yield Share(none, none, empty)


def solutions(network: PiecewiseLinear, regions: Bool[Tensor, "regions relu"]) -> Ball:
    """(regions, dim) the fixed point of each region's affine map, wherever it lies; infinite radii where none is proved."""
    return solved(complement(network, regions), Ball.exact(network.h.expand(len(regions), -1)[..., None]))[..., 0]


def slopes(network: PiecewiseLinear, regions: Bool[Tensor, "regions relu"]) -> Tensor:
    """J of each region, (regions, dim, dim)."""
    return torch.diag(network.A) + network.W * _gates(network, regions)


def complement(network: PiecewiseLinear, regions: Bool[Tensor, "regions relu"]) -> Ball:
    """I - J of each region, (regions, dim, dim); off the diagonal there is nothing to round."""
    A, W = network.A, network.W
    mid = torch.diag(1 - A) - W * _gates(network, regions)
    return Ball(mid, torch.diag(2 * EPS * (1 + A.abs() + W.diagonal().abs())).expand_as(mid))


def solved(G: Ball, B: Ball) -> Ball:
    """G^-1 B, (batch, n, columns), or infinite radii where G is not proved regular.

    With Y about G^-1, R = I - Y G, X about Y B and D = Y (B - G X): |G^-1 B - X| <= |D| + |R| / (1 - |R|) max |D|, in the
    maximum norm (Rump, Acta Numerica 19 (2010), section 10). Columns of B that are exactly 0 have the solution 0.
    """
    inverse = Ball.exact(torch.linalg.inv_ex(G.mid).inverse)
    eye = Ball.exact(torch.eye(G.mid.shape[-1]).to(G.mid).expand_as(G.mid))
    terms = G.mid.shape[-1] + 4
    off = (eye - inverse @ G).magnitude.sum(-1).amax(-1)[:, None, None] * (1 + terms * EPS)
    X = inverse.mid @ B.mid
    X = X + inverse.mid @ (B.mid - G.mid @ X)
    D = (inverse @ (B - G @ Ball.exact(X))).magnitude
    rad = (D + off / (1 - off) * D.amax(-2, keepdim=True)) * (1 + 8 * EPS)
    rad = torch.where((off < 1) & torch.isfinite(rad), rad, torch.inf)
    zero = ((B.mid == 0) & (B.rad == 0)).all(-2, keepdim=True) & (off < 1)
    return Ball(torch.where(zero, 0.0, X), torch.where(zero, 0.0, rad))


def reduced(network: PiecewiseLinear, base: Bool[Tensor, " relu"]) -> Ball:
    """(dim, relu + 1) T and t: z = sum_j T_j w_j + t; infinite radii where I - J of the base is not proved regular."""
    cut = len(network.A) - network.relu
    B = torch.column_stack([torch.where(base, -1.0, 1.0).double() * network.W[:, cut:], network.h])
    if cut == 0 and not base.any() and (network.A != 1).all():
        # nothing to invert, and what is exactly 0 stays so: silent units need no rational arithmetic
        mid = B / (1 - network.A)[:, None]
        return Ball(mid, 4 * EPS * mid.abs() + TINY * (B != 0).to(B))
    return solved(complement(network, base[None]), Ball.exact(B[None]))[0]


def _by_signs(rectified: Ball, regions: Bool[Tensor, "regions relu"]) -> Share:
    """Real where all units have the signs of the region (on: > 0, off: <= 0), empty where one has not.

    The sign of a float64 sum is exact, so the comparisons are.
    """
    low, high = rectified.mid - rectified.rad, rectified.mid + rectified.rad
    real = torch.where(regions, low > 0, high <= 0).all(1)
    empty = torch.where(regions, high <= 0, low > 0).any(1)
    return Share(regions[real], regions[~(real | empty)], int(empty.sum()))


def alone(table: Ball, base: Tensor, regions: Bool[Tensor, "regions relu"]) -> Share:
    """Each region by its own system (1 - T F) u = t, F the units that differ from the base, solved with pivoting."""
    if not len(regions):
        return Share(regions, regions, 0)
    T, t = table[:, :-1], table[:, -1:]
    differ = (regions != base).double()[:, None, :]
    eye = torch.eye(len(base)).to(differ)
    G = Ball(eye - T.mid * differ, T.rad * differ + EPS * eye * (1 + T.mid.abs()))
    columns = Ball(*(part.expand(len(regions), -1, -1) for part in (t.mid, t.rad)))
    return _by_signs(solved(G, columns)[..., 0], regions)


def root(network: PiecewiseLinear) -> tuple[Tensor, Ball]:
    """The base region and its ``reduced``: all units off if that is well conditioned, else the best drawn."""
    off = torch.zeros(network.relu, dtype=torch.bool)
    if _conditions(network, off[None])[0] < ILL:
        return off, reduced(network, off)
    draws = torch.rand(CANDIDATES, network.relu, generator=torch.Generator().manual_seed(0)) < 0.5
    candidates = torch.cat([off[None], ~off[None], draws])
    base = candidates[_conditions(network, candidates).argmin()]
    return base, reduced(network, base)


def _conditions(network: PiecewiseLinear, regions: Tensor) -> Tensor:
    """(regions,) condition number of I - J."""
    spread = torch.linalg.svdvals(complement(network, regions).mid)
    return (spread[:, 0] / spread[:, -1]).nan_to_num(torch.inf)


def _flipped(nodes: Nodes, on: Tensor) -> tuple[Nodes, Tensor]:
    """The children in which the next unit differs from the base, and those (decided, nodes) whose pivot may be 0.

    u_k = T_kk u_k + row gives u_k = row / (1 - T_kk), which replaces w_k in every row.
    """
    k = len(nodes.on)
    pivot = 1 - nodes.mid[k, 0]
    pivot_rad = (nodes.rad[k, 0] + EPS * pivot.abs()) * (1 + 4 * EPS)
    sound = pivot.abs() > 2 * pivot_rad
    children = _decided(nodes.on, on)
    mid, rad = (part if sound.all() else part[..., sound] for part in (nodes.mid, nodes.rad))
    pivot, pivot_rad = pivot[sound], pivot_rad[sound]

    row = mid[k, 1:] / pivot
    row_rad = (rad[k, 1:] + row.abs() * pivot_rad) / (pivot.abs() - pivot_rad) + EPS * row.abs()
    touched = ((mid[k, 1:] != 0) | (rad[k, 1:] != 0)).to(mid)
    row_rad = row_rad * (1 + 16 * EPS) + TINY * touched
    column, column_rad = mid[:, :1], rad[:, :1]
    after = torch.addcmul(mid[:, 1:], column, row)
    reach = column.abs() + column_rad
    after_rad = torch.addcmul(rad[:, 1:], reach * (1 + 2 * EPS), row_rad)
    after_rad.addcmul_(column_rad + EPS * column.abs(), row.abs())
    # underflow is covered where a product is not exactly 0, so zeros stay exact
    after_rad.addcmul_(TINY * (reach > 0).to(mid), touched)
    after_rad.add_(after.abs(), alpha=EPS).mul_(1 + 16 * EPS)
    after[k], after_rad[k] = row, row_rad
    return Nodes(children[:, sound], after, after_rad), children[:, ~sound]


def _impossible(nodes: Nodes, side: Tensor) -> Tensor:
    """(nodes,) a decided unit has the wrong sign whatever the undecided ones do: each term of its row has that sign."""
    decided = len(nodes.on)
    sign = torch.where(nodes.on, 1.0, -1.0).double()
    rows, rad = nodes.mid[:decided] * sign[:, None], nodes.rad[:decided]
    falling = (rows[:, :-1] * side[:, None] + rad[:, :-1] <= 0).all(1)
    constant = rows[:, -1] + rad[:, -1]
    return (falling & torch.where(nodes.on, constant <= 0, constant < 0)).any(0)


def _gates(network: PiecewiseLinear, regions: Tensor) -> Tensor:
    """(regions, 1, dim) the slope of phi."""
    return torch.cat([regions.new_ones(len(regions), len(network.A) - network.relu), regions], dim=1)[:, None, :]


def _decided(on: Tensor, value: Tensor) -> Tensor:
    """One more decided unit, (decided + 1, nodes)."""
    return torch.cat([on, value.expand(1, on.shape[1])])


def _completed(on: Tensor, relu: int) -> Tensor:
    """(regions, relu) all regions that begin like these (decided, nodes)."""
    free = relu - len(on)
    tails = (torch.arange(1 << free)[:, None] >> torch.arange(free)) & 1 == 1
    return torch.cat([on.T.repeat_interleave(len(tails), 0), tails.repeat(on.shape[1], 1)], dim=1)
