"""Does every step bring any two states of a box closer, in some norm? A contraction proved, or the state where it fails.

Method: in the norm |T x| the map contracts a convex box at ``rate`` when |T DF(x) T^-1|_2 <= rate < 1 at each of its states
(Lohmiller and Slotine, Automatica 34 (1998), section 5, with the constant metric M = T'T). Slopes over sub-boxes come from
``hooks.enclosure``; the 2-norms of all matrices in an enclosure are bounded with rounding included (``_norms``), and the
sub-box with the largest bound is halved first. A norm of 1 or more at a state, bounded from below, disproves it in this norm.
Metrics tried when none is given: the identity; the diagonal one that is optimal for the entrywise largest slopes (Perron
vectors; Stoer and Witzgall, Numer. Math. 4 (1962)); the discrete Lyapunov equation of the mean slope; and subgradient steps on
the largest norm over states drawn from the box.

Takes (dynamics, box); costs one enclosure a sub-box, O(dim^3) each. One often does for a contraction by a wide margin; else
the number of sub-boxes grows exponentially with the coordinates on which the slope depends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.maps._boxes import box_sides, centered, halves
from analyses.maps._equations import fixed_point_equation, polished
from analyses.maps._norms import Norm, best_norm, given_norm, stretch
from analyses.maps._starts import trapping_box
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, autonomous
from hooks.enclosure import EPS, Ball, enclose
from hooks.errors import EnclosureError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENTRIES = 1 << 18  # slope entries of the sub-boxes bounded at once
SAMPLE = 64  # states at which metrics are compared and the worst state is sought first
CLIMBS = 20  # rounds of the search for the worst state, each with a smaller spread


@dataclass(frozen=True, eq=False)
class Contraction(Result):
    """Bounds of the largest |T DF(x) T^-1|_2 over the box from both sides.

    Attributes
    ----------
    transform : (dim, dim)
        T: distances are |T (x - y)|_2.
    rate
        Upper bound over the box, proved: states of the box come closer by this factor or better at each step. Infinite when
        the step has an operation without known bounds.
    norm, state : (dim,)
        The largest lower bound found, proved too, and where.
    spectral_radius
        Of the slope at ``state``, to rounding. Above 1 no constant metric helps.
    box : (2, dim)
        Lower and upper sides.
    traps
        The box is mapped into itself: shown by the enclosure, or stated by the map of its trapping box.
    rest : (dim,)
        The fixed point, to rounding, around which orbits of the box are proved to converge; NaN where none is.
    reach
        Every orbit from |T (x - rest)| <= reach converges to the one fixed point; such states lie in the box. 0 without one.
    examined
        Sub-boxes bounded.
    reason
        Why nothing could be bounded; empty when it could.
    checks
        The lower bound does not exceed the upper one.
    """

    transform: Float[np.ndarray, "dim dim"]
    rate: float
    norm: float
    state: Float[np.ndarray, " dim"]
    spectral_radius: float
    box: Float[np.ndarray, "2 dim"]
    traps: bool
    rest: Float[np.ndarray, " dim"]
    reach: float
    examined: int
    reason: str
    checks: tuple[Check, ...]

    @property
    def metric(self) -> np.ndarray:
        """(dim, dim) M = T'T."""
        return self.transform.T @ self.transform

    @property
    def proved(self) -> bool:
        """The map contracts the box in this metric."""
        return self.rate < 1

    @property
    def disproved(self) -> bool:
        """It does not: at ``state`` the norm is 1 or more."""
        return self.norm >= 1

    def summary(self) -> str:
        """Proved with the rate, disproved with the failing state's norm, or undecided between two bounds."""
        if self.reason:
            return f"contraction is not shown: {self.reason}"
        if self.proved:
            text = f"a contraction, proved: states of the box come closer by {self.rate:.4g} or less a step (by "
            text += f"{self.norm:.4g} at the worst state seen), so it holds one fixed point at most; "
            if self.traps:
                return text + "the box is mapped into itself, so there is one and every orbit converges to it"
            if self.reach > 0:
                return text + f"there is one, and orbits from within {self.reach:.3g} of it in this norm converge to it"
            return text + "that there is one is not shown"
        if self.disproved:
            other = "no constant metric helps" if self.spectral_radius > 1 + 1e-9 else "another metric may do"
            text = f"no contraction in this metric: at a state of the box the slope has norm {self.norm:.4g}"
            return f"{text} and spectral radius {self.spectral_radius:.4g}, so {other}"
        text = f"contraction is not shown: the largest norm of the slope is between {self.norm:.4g} and {self.rate:.4g}"
        return f"{text}, {self.examined} parts bounded"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The lower and upper bound of the largest norm, against 1."""
        ax = axes_or_new(ax)
        bounds = np.nan_to_num([self.norm, self.rate], posinf=np.nan)
        ax.bar(["worst state seen", "bound over the box"], bounds, color=["#d55e00", "#0072b2"], width=0.5)
        ax.axhline(1, color="0.3", linewidth=0.8)
        ax.set(ylabel="norm of the slope in the metric")
        return ax


@dataclass(frozen=True, eq=False)
class Search:
    """Sub-boxes not yet proved, worst bound first, and the bounds so far."""

    open: Tensor  # (parts, 2, dim)
    bounds: Tensor  # (parts,) of the sub-box each is part of
    rate: float  # largest bound of all sub-boxes
    norm: float
    state: Tensor  # (dim,)
    examined: int


def certify_contraction(
    dynamics: Dynamics,
    box: Any = None,
    *,
    metric: Any = None,
    splits: int = 2000,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> Contraction:
    """Prove that an autonomous map contracts a box, or find the state where it does not.

    Parameters
    ----------
    box
        (lower, upper), each a number or (dim,). Left out, the map's trapping box.
    metric : (dim, dim), or (dim,) for a diagonal one
        M, symmetric and positive definite: distances are sqrt((x - y)' M (x - y)). Left out, one is sought.
    splits
        Most sub-boxes that are halved.
    generator
        Draws the states of the search for a metric and for a failing state; a fixed seed when left out.
    watch
        Wraps the search: progress, budget. Bounds hold whenever it ends.

    Raises
    ------
    DrivenError
        When the map takes a drive: the proof is for one drive held.
    InputError
        For a box without finite, ordered sides, a map that does not step in float64, or a metric that is not symmetric and
        positive definite.

    Notes
    -----
    For r' = (1 - a) r + a (W phi(r) + L r + u), 0 <= phi' <= 1, with T L T^-1 antisymmetric of norm s and |T |W| T^-1| <= sigma
    < 1, the norm of the slope is at most sqrt((1 - a)^2 + a^2 s^2) + a sigma for every state: below 1 for step sizes
    a < 2 (1 - sigma) / (1 - sigma^2 + s^2). Assemblies of modules coupled by L_ij = B, L_ji = -M_j^-1 B' M_i are of this kind
    (Kozachkov, Ennis and Slotine, RNNs of RNNs, NeurIPS 2022, equations 2 and 3; theirs is the limit a -> 0).
    """
    dynamics = autonomous(dynamics, "certify_contraction")
    low, high = box_sides(dynamics, box)
    generator = generator or torch.Generator().manual_seed(0)
    given = None if metric is None else given_norm(dynamics, metric)

    root = torch.stack([low, high])[None]
    seed = int(torch.randint(1 << 31, (1,), generator=generator))
    drawn = torch.quasirandom.SobolEngine(dynamics.dim, scramble=True, seed=seed).draw(SAMPLE, dtype=torch.float64)
    states = torch.cat([centered(root)[0], low + (high - low) * drawn.to(low)])
    slopes, reason, over = jacobian(dynamics, states), "", None
    try:
        over = enclose(dynamics, *centered(root))
    except EnclosureError as error:
        reason = str(error)
    norm = given or best_norm(slopes, None if over is None else over.slope)

    worst = states[stretch(norm, slopes).argmax()]
    lower = float("nan") if over is None else _lower(dynamics, norm, worst)
    search = Search(root, torch.full((1,), float("inf")).to(low), float("inf"), lower, worst, 0)
    if over is not None:
        loop = _searches(dynamics, norm, search, generator, splits)
        for search in watch(loop, splits):
            pass
    rate, rest, reach = search.rate, low * torch.nan, 0.0
    if rate < 1:
        rest, reach = _attracting_ball(dynamics, norm, rate, states, low, high)
    slope = jacobian(dynamics, search.state[None])[0].cpu().numpy()
    return Contraction(
        transform=norm.T.cpu().numpy(),
        rate=rate,
        norm=search.norm,
        state=search.state.cpu().numpy(),
        spectral_radius=float(np.abs(np.linalg.eigvals(slope)).max()),
        box=root[0].cpu().numpy(),
        traps=over is not None and _traps(dynamics, over.value, root),
        rest=rest.cpu().numpy(),
        reach=reach,
        examined=search.examined,
        reason=reason,
        checks=() if over is None else (Check("lower bound above the upper", 0.0, max(0.0, search.norm - rate), 0.0),),
    )


def _searches(
    dynamics: Dynamics, norm: Norm, search: Search, generator: torch.Generator, splits: int
) -> Iterator[Search]:
    """Bound sub-boxes, the one with the worst bound first, and halve those not proved, until all are or a state fails."""
    rows = max(1, min(256, ENTRIES // dynamics.dim**2))
    proved, weights = 0.0, torch.zeros(0)
    while len(search.open) and search.examined <= 2 * splits and not search.norm >= 1:
        count = min(rows, 2 * splits + 1 - search.examined)
        parts, waiting = search.open[:count], search.open[count:]
        bounds = torch.minimum(norm.upper(enclose(dynamics, *centered(parts)).slope), search.bounds[:count])
        proved = max(proved, float(bounds[bounds < 1].max())) if (bounds < 1).any() else proved
        parts, bounds, examined = parts[bounds >= 1], bounds[bounds >= 1], search.examined + len(parts)
        state, lower = search.state, search.norm
        if len(parts):
            tried = centered(parts)[0] if len(weights) else _climbed(dynamics, norm, state, parts[0], generator)
            weights = weights if len(weights) else _relevance(dynamics, norm, parts)
            candidate = tried[stretch(norm, jacobian(dynamics, tried)).argmax()]
            reached = _lower(dynamics, norm, candidate)
            state, lower = (candidate, reached) if reached > lower else (state, lower)
            waiting = torch.cat([waiting, halves(parts, weights)])
        bounds = torch.cat([search.bounds[count:], bounds, bounds])
        order = bounds.argsort(descending=True, stable=True)
        rate = max(proved, float(bounds.max())) if len(bounds) else proved
        search = Search(waiting[order], bounds[order], rate, lower, state, examined)
        yield search


def _lower(dynamics: Dynamics, norm: Norm, state: Tensor) -> float:
    """A proved lower bound of the norm of the slope at one state."""
    return norm.lower(enclose(dynamics, state[None], torch.zeros_like(state[None])).slope[0])


def _relevance(dynamics: Dynamics, norm: Norm, part: Tensor) -> Tensor:
    """(dim,) how much the slope varies with each coordinate alone, per unit of it; 1 where that has no bound."""
    center, radius = centered(part)
    alone = torch.diag(radius[0])
    spread = enclose(dynamics, center.expand_as(alone), alone).slope.rad
    varied = (norm.T.abs() @ spread @ norm.Y.abs()).norm(dim=(1, 2)) / radius[0]
    return torch.where(torch.isfinite(varied), varied, 1.0)


def _climbed(dynamics: Dynamics, norm: Norm, state: Tensor, part: Tensor, generator: torch.Generator) -> Tensor:
    """(1, dim) a state of the box with a larger norm: the best of random changes of it, ever smaller ones."""
    low, high = part
    for spread in 0.5 * 0.75 ** torch.arange(CLIMBS):
        noise = torch.randn(SAMPLE, len(state), generator=generator, dtype=torch.float64).to(state)
        trial = torch.cat([state[None], (state + spread * (high - low) * noise).clamp(low, high)])
        state = trial[stretch(norm, jacobian(dynamics, trial)).argmax()]
    return state[None]


def _attracting_ball(
    dynamics: Dynamics, norm: Norm, rate: float, states: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, float]:
    """(rest, reach): Banach on the ball |T (x - rest)| <= reach, the largest in the box, if |T (F(rest) - rest)| allows it."""
    with torch.no_grad():
        for _ in range(50):
            states = dynamics(states).clamp(low, high)
    roots, residuals = polished(fixed_point_equation(dynamics), states, box=(low, high))
    rest = roots[residuals.argmin()]
    moved = enclose(dynamics, rest[None], torch.zeros_like(rest[None])).value[0] - Ball.exact(rest)
    drift = float((Ball.exact(norm.T) @ Ball(moved.mid[:, None], moved.rad[:, None])).magnitude.norm()) * (1 + 1e-12)
    # |x_i| <= |row i of T^-1| |T x|
    widths = norm.Y.norm(dim=1) / (1 - norm.slack)
    reach = float((torch.minimum(rest - low, high - rest) / widths).min()) * (1 - 1e-12)
    return (rest, reach) if reach > 0 and drift + rate * reach <= reach else (rest * torch.nan, 0.0)


def _traps(dynamics: Dynamics, image: Ball, root: Tensor) -> bool:
    """Whether the box is the map's own trapping box, or its image is enclosed in it."""
    own, (low, high) = trapping_box(dynamics), root[0]
    if own is not None and torch.equal(own[0].to(low), low) and torch.equal(own[1].to(high), high):
        return True
    reach = image.rad + 4 * EPS * (image.mid.abs() + image.rad)
    return bool(((image.mid - reach >= low) & (image.mid + reach <= high)).all())
