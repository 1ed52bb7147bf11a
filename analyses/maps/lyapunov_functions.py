"""Is V a Lyapunov function of the map on a box? A state where it is not, a proof that it is, or neither.

Conditions, with x* the equilibrium and V measured from V(x*): V(x) > 0 and E(x) = V(F(x)) - (1 - margin) V(x) < 0 at every
other state of the box. Search: Sobol points and corners, then projected gradient ascent of -V / |x - x*|^2 and of
E / |x - x*|^2 from the worst of them, all in one batch. Inside a small box around x*, the shell, the quadratic forms of V and
of E at x* are tried, with states along their worst directions. Where nothing is found and V and the step are made of
operations that ``hooks.enclosure`` bounds, branch and bound with mean-value forms proves both conditions outside the shell.
(Falsifiers of this kind check the candidates of Lyapunov-function discovery: Chang, Roohi and Gao, Neural Lyapunov control,
NeurIPS 2019, section 3; Alfarano, Charton and Hayat, Global Lyapunov functions, NeurIPS 2024.)

Takes (dynamics, V); costs some hundred gradients of a few hundred states, and two enclosures a part of the proof, whose
number grows exponentially with dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.maps._boxes import Cover, box_sides, centered, covers
from analyses.maps._equations import fixed_point_equation, polished
from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.enclosure import EPS, Ball, Enclosure
from hooks.errors import EnclosureError, InputError
from hooks.tangent import readout_jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONDITIONS = ("V > 0", "V falls")
CORNERS = 10  # dimensions up to which all 2^dim corners are tried
CLIMBERS = 128  # states that climb, for each condition
CLIMBS = 60
ROUNDING = 64.0  # units in the last place of V and V(F(x)) that their difference is trusted to, where nothing bounds it
# Of its largest eigenvalue and of typical V / |x - x*|^2: a form is definite beyond the error of differences
DEFINITE = 1e-6


@dataclass(frozen=True, eq=False)
class LyapunovTrial(Result):
    """The worst state found, and how much of the box is proved.

    Attributes
    ----------
    state : (dim,)
        Where a condition fails by the most, or comes closest to failing, relative to its typical size over the box.
    condition
        "V > 0" or "V falls": the one that fails there or comes closest.
    value, change
        V(x) - V(x*), and E(x) = V(F(x)) - V(x) + margin (V(x) - V(x*)), at that state.
    rounding
        Error of these two: proved where V and the step have known bounds, else 64 units in the last place.
    curvatures : (2,)
        Smallest eigenvalue of the Hessian of V and largest of that of E at the equilibrium, coordinates in half widths of the
        box. Positive and negative: both conditions hold close enough to x*, to rounding; how close is not shown.
    definite : bool
        Both are so beyond rounding.
    equilibrium : (dim,)
    box : (2, dim)
        Lower and upper sides.
    shell
        |x - x*| <= shell half widths, in every coordinate, is judged by the quadratic forms alone.
    tried
        States at which the conditions were evaluated.
    parts, open_parts
        Parts of the box bounded in the proof, and those not proved; 0 and 0 when no proof was tried.
    reason
        Why no proof was tried; empty when one was.
    checks
        The equilibrium rests: |F(x*) - x*| relative to the half width.
    """

    state: Float[np.ndarray, " dim"]
    condition: str
    value: float
    change: float
    rounding: float
    curvatures: Float[np.ndarray, "2"]
    definite: bool
    equilibrium: Float[np.ndarray, " dim"]
    box: Float[np.ndarray, "2 dim"]
    shell: float
    tried: int
    parts: int
    open_parts: int
    reason: str
    checks: tuple[Check, ...]

    @property
    def excess(self) -> float:
        """By how much the condition fails at ``state``; negative when it holds."""
        return -self.value if self.condition == CONDITIONS[0] else self.change

    @property
    def falsified(self) -> bool:
        """A condition fails at ``state``, beyond rounding."""
        return not self.excess <= self.rounding

    @property
    def level(self) -> bool:
        """A condition is met with equality to rounding: strictly positive or falling is not shown."""
        return abs(self.excess) <= self.rounding

    @property
    def proved(self) -> bool:
        """Both conditions hold in the box outside the shell."""
        return self.parts > 0 and not self.open_parts and not self.falsified and not self.level

    def summary(self) -> str:
        """Falsified with the state's numbers, proved outside the shell, or not falsified by so many states."""
        numbers = f"V = {self.value:.4g}, change {self.change:.4g}"
        if self.falsified:
            return f"no Lyapunov function: '{self.condition}' fails at a state of the box ({numbers})"
        if self.level:
            return f"no strict Lyapunov function shown: '{self.condition}' holds with equality to rounding ({numbers})"
        if self.proved:
            text = f"V > 0 and falling is proved outside the shell of {self.shell:g}, {counted(self.parts, 'part')} bounded"
        else:
            left = f"{self.open_parts} of {self.parts} parts left" if self.parts else self.reason or "none was tried"
            text = f"not falsified by {self.tried} states (closest: '{self.condition}', {numbers}); not proved: {left}"
        inside = "both quadratic forms are definite" if self.definite else "the quadratic forms decide nothing"
        return f"{text}; inside the shell {inside}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The equilibrium and the worst state in the box, in the first two coordinates (or x and 0)."""
        ax = axes_or_new(ax)
        low, high, rest, worst = np.pad([*self.box, self.equilibrium, self.state], [(0, 0), (0, 1)])[:, :2]
        ax.fill([low[0], high[0], high[0], low[0]], [low[1], low[1], high[1], high[1]], fill=False, ec="0.3")
        ax.plot(*rest, "+", color="0.3", label="equilibrium")
        ax.plot(*worst, "o", color="#d55e00" if self.falsified else "#0072b2", label=f"worst: {self.condition}")
        ax.set(xlabel="state 1", ylabel="state 2")
        ax.legend(frameon=False, fontsize="small")
        return ax


@dataclass(frozen=True, eq=False)
class Climb:
    """States after one more trial each."""

    states: Tensor  # (climbers, dim), in half widths from the equilibrium
    excess: Tensor  # (climbers,) of their condition over |state|^2
    stride: Tensor  # (climbers,)


@dataclass(frozen=True, eq=False)
class Conditions:
    """-V and E in coordinates y: half widths from the equilibrium; both are to be below 0."""

    dynamics: Dynamics
    V: Callable[[Any], Any]
    margin: float
    rest: Tensor
    half: Tensor
    low: Tensor
    high: Tensor
    shell: float

    def excess(self, states: Any) -> Any:
        """(-V, E) of states x, tensors or enclosures; V measured from the equilibrium."""
        floor = self.floor
        here, there = self.V(states), self.V(self.dynamics.step(states, None))
        return floor - here, there - here * (1 - self.margin) - self.margin * floor

    @property
    def floor(self) -> float:
        with torch.no_grad():
            return float(self.V(self.rest[None]))

    def states(self, y: Tensor) -> Tensor:
        return torch.clamp(self.rest + self.half * y, self.low, self.high)

    def values(self, y: Tensor) -> Tensor:
        """(batch, 2) excesses; where a successor or V is not finite, infinite."""
        with torch.no_grad():
            both = torch.stack(self.excess(self.states(y)), 1)
        return torch.where(torch.isnan(both), float("inf"), both)

    def gradients(self, y: Tensor) -> Tensor:
        """(batch, 2, dim) of the excesses with respect to y."""
        view = replace(self.dynamics, readout=lambda states: torch.stack(self.excess(states), 1))
        return readout_jacobian(view, self.states(y)) * self.half

    def outside(self, y: Tensor) -> Tensor:
        """Into the box, and radially out of the shell."""
        size = y.abs().amax(1, keepdim=True)
        y = torch.where(size < self.shell, y * (self.shell / size.clamp(min=1e-300)), y)
        return torch.clamp(y, (self.low - self.rest) / self.half, (self.high - self.rest) / self.half)

    def beyond(self, y: Tensor) -> Tensor:
        """(batch,) bool: not in the shell, into which the sides of the box can press a state."""
        return y.abs().amax(1) >= self.shell * (1 - 1e-9)


def falsify_lyapunov_function(
    dynamics: Dynamics,
    V: Callable[[Any], Any],
    *,
    box: Any = None,
    equilibrium: Any = None,
    margin: float = 0.0,
    shell: float = 0.01,
    points: int = 4096,
    splits: int = 10_000,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> LyapunovTrial:
    """Look for a state where V is no Lyapunov function of an autonomous map; where none is found, try to prove it one.

    Parameters
    ----------
    V
        (batch, dim) states -> (batch,), differentiable. For a proof it must be made of operations that ``hooks.enclosure``
        bounds: a sum of squares is ``((x * x) @ torch.ones(dim, 1, dtype=x.dtype))[:, 0]``.
    box
        (lower, upper), each a number or (dim,). Left out, the map's trapping box.
    equilibrium : (dim,)
        Left out, the fixed point that Newton's method reaches from the slowest states tried.
    margin
        Share of V that each step must take away, in [0, 1].
    shell
        Half-width of the box around the equilibrium that only the quadratic forms judge, in half widths of the box.
    points
        Sobol points tried at first; corners are added up to 10 dimensions.
    splits
        Most parts that are halved in the proof; 0 leaves the proof out.
    generator
        Scrambles the Sobol points; a fixed seed when left out.
    watch
        Wraps the ascent, then the proof.

    Returns
    -------
    LyapunovTrial
        A proof says that every orbit that stays in the box enters the shell. It holds for the step map: that of a flow under
        an integrator, not the flow.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For a box without volume, a map that does not step in float64, an equilibrium outside the box, a V of the wrong
        shape, or a margin, shell or number of points out of range.
    """
    dynamics = autonomous(dynamics, "falsify_lyapunov_function")
    low, high = box_sides(dynamics, box)
    if not (low < high).all() or not 0 <= margin <= 1 or not 0 < shell < 1 or points < 1:
        raise InputError(
            f"a box with volume, a margin in [0, 1], a shell in (0, 1) and a point at least are needed, but margin={margin}, "
            f"shell={shell}, points={points} and a shortest side of {float((high - low).min())} came"
        )
    drawn = _drawn(low, high, points, generator or torch.Generator().manual_seed(0))
    rest = _rest(dynamics, drawn, low, high) if equilibrium is None else as_states(dynamics, equilibrium)[0].double()
    if not ((rest >= low) & (rest <= high)).all():
        raise InputError(f"the equilibrium {rest.tolist()} lies outside the box")
    with torch.no_grad():
        shape = tuple(V(drawn[:2]).shape)
    if shape != (2,):
        raise InputError(f"V takes states (batch, dim) to (batch,), but {shape} came for 2 states")

    trial = Conditions(dynamics, V, margin, rest, (high - low) / 2, low, high, shell)
    y = trial.outside((drawn - rest) / trial.half)
    y = y[trial.beyond(y)]
    relative = trial.values(y) / (y * y).sum(1, keepdim=True)
    typical = relative.abs().median(0).values.clamp(min=1e-300)
    curvatures, definite, close = _quadratic_forms(trial, typical)
    climb = _start(y, relative)
    climbs = _climbs(trial, climb)
    for climb in watch(climbs, CLIMBS):
        pass
    y = torch.cat([y, close, climb.states])
    worst, which = _worst(trial.values(y) / typical, y)
    state = trial.states(y[worst][None])
    excess, rounding, reason = _measured(trial, state)

    whole = torch.stack([low, high])[None]
    cover = Cover(whole, whole[:0], 0)
    if not reason and excess[which] < -rounding and splits:
        proof = covers(cover, lambda parts: _unproved(trial, parts), splits)
        for cover in watch(proof, splits):
            pass
    with torch.no_grad():
        drift = float(((dynamics(rest[None])[0] - rest) / trial.half).norm())
    return LyapunovTrial(
        state=state[0].cpu().numpy(),
        condition=CONDITIONS[which],
        value=-excess[0],
        change=excess[1],
        rounding=rounding,
        curvatures=curvatures,
        definite=definite,
        equilibrium=rest.cpu().numpy(),
        box=whole[0].cpu().numpy(),
        shell=shell,
        tried=len(y),
        parts=cover.examined,
        open_parts=len(cover.open) if cover.examined else 0,
        reason=reason,
        checks=(Check("|F(x*) - x*| in half widths", 0.0, drift, 1e-9),),
    )


def _drawn(low: Tensor, high: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """Sobol points of the box, and its corners up to ``CORNERS`` dimensions."""
    dim = len(low)
    seed = int(torch.randint(1 << 31, (1,), generator=generator))
    unit = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed).draw(points, dtype=torch.float64)
    if dim <= CORNERS:
        unit = torch.cat([unit, torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * dim).reshape(-1, dim)])
    return low + (high - low) * unit.to(low)


def _rest(dynamics: Dynamics, states: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The fixed point that Newton's method reaches from the slowest of the states."""
    with torch.no_grad():
        slow = (dynamics(states) - states).norm(dim=1).argsort()[:16]
    roots, residuals = polished(fixed_point_equation(dynamics), states[slow], box=(low, high), steps=50)
    if not residuals.min() < 1e-9:
        raise InputError(f"no fixed point of {dynamics.name!r} was reached in the box: give one with equilibrium=")
    return roots[residuals.argmin()]


def _quadratic_forms(trial: Conditions, typical: Tensor) -> tuple[np.ndarray, bool, Tensor]:
    """(smallest curvature of V, largest of E), whether both are definite, and states along those of the wrong sign."""
    step = 1e-4 * torch.eye(len(trial.rest)).to(trial.rest)
    slopes = trial.gradients(torch.cat([step, -step]))
    hessians = (slopes[: len(step)] - slopes[len(step) :]).transpose(0, 1) / 2e-4
    values, vectors = torch.linalg.eigh((hessians + hessians.mT) / 2)
    largest, noise = values[:, -1], DEFINITE * torch.maximum(values.abs().amax(1), typical)
    definite = bool((largest < -noise).all())
    along = trial.shell * 0.5 ** torch.arange(8).to(trial.rest)
    close = (along[:, None, None] * vectors[largest > noise, :, -1]).reshape(-1, len(step))
    return np.array([-float(largest[0]), float(largest[1])]), definite, torch.cat([close, -close])


def _start(y: Tensor, relative: Tensor) -> Climb:
    """The worst states for each condition: first those that climb -V, then those that climb E."""
    count = min(CLIMBERS, len(y))
    chosen = relative.topk(count, 0)
    excess = chosen.values.mT.reshape(-1)
    return Climb(y[chosen.indices.mT.reshape(-1)], excess, torch.full_like(excess, 0.1))


def _climbs(trial: Conditions, climb: Climb) -> Iterator[Climb]:
    """Ascent of excess / |y|^2 along its gradient; each state's stride grows by half on a rise, halves otherwise."""
    rows = torch.arange(len(climb.states), device=climb.states.device)
    which = (rows >= len(rows) // 2).long()
    for _ in range(CLIMBS):
        square = (climb.states * climb.states).sum(1, keepdim=True)
        slope = torch.nan_to_num(trial.gradients(climb.states)[rows, which])
        uphill = slope - 2 * torch.nan_to_num(climb.excess)[:, None] * climb.states  # times |y|^2
        move = uphill / uphill.norm(dim=1, keepdim=True).clamp(min=1e-300) * square.sqrt().clamp(max=1.0)
        after = trial.outside(climb.states + climb.stride[:, None] * move)
        size = trial.values(after)[rows, which] / (after * after).sum(1)
        rose = (size > climb.excess) & trial.beyond(after)
        climb = Climb(
            torch.where(rose[:, None], after, climb.states),
            torch.where(rose, size, climb.excess),
            torch.where(rose, climb.stride * 1.5, climb.stride * 0.5),
        )
        yield climb


def _worst(excess: Tensor, y: Tensor) -> tuple[int, int]:
    """(state, condition): the largest excess where one is positive; else the largest over |y|^2, the closest to failing."""
    ranked = excess if (excess > 0).any() else excess / (y * y).sum(1, keepdim=True)
    worst, which = divmod(int(ranked.argmax()), 2)
    return worst, which


def _bounded(trial: Conditions, center: Tensor, radius: Tensor) -> tuple[Enclosure, Enclosure]:
    """(-V, E) over center +- radius: values (batch,), slopes (batch, dim)."""
    eye = torch.eye(len(trial.rest)).to(center).expand(len(center), -1, -1)
    state: Any = Enclosure(Ball(center, radius), Ball.exact(eye))
    try:
        with torch.no_grad():
            both = trial.excess(state)
    except (TypeError, AttributeError) as error:
        raise EnclosureError(f"V or the step uses an operation without a known bound: {error}") from None
    if not all(isinstance(excess, Enclosure) and excess.shape == center.shape[:1] for excess in both):
        raise EnclosureError("V or the step does not pass its state through the known operations")
    return both


def _measured(trial: Conditions, state: Tensor) -> tuple[list[float], float, str]:
    """(-V, E) at one state, their error, and why no proof can be tried."""
    try:
        balls = [excess.value for excess in _bounded(trial, state, torch.zeros_like(state))]
        return [float(ball.mid) for ball in balls], max(float(ball.rad) for ball in balls), ""
    except EnclosureError as error:
        with torch.no_grad():
            excess = [float(part) for part in trial.excess(state)]
            size = abs(trial.floor) + sum(float(trial.V(x).abs()) for x in (state, trial.dynamics(state)))
        return excess, ROUNDING * EPS * size, str(error)


def _unproved(trial: Conditions, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parts outside the shell where a condition is not proved, by values or by mean-value forms, and its slopes there."""
    center, radius = centered(parts)
    over, at = _bounded(trial, center, radius), _bounded(trial, center, torch.zeros_like(center))
    failing, weights = torch.zeros_like(parts[:, 0, 0], dtype=torch.bool), torch.zeros_like(center)
    for whole, middle in zip(over, at, strict=True):
        slope = whole.slope.magnitude
        reach = (slope * radius).sum(1) * (1 + (len(trial.rest) + 4) * EPS)
        highest = torch.fmin(
            middle.value.mid + (middle.value.rad + reach) * (1 + 8 * EPS), whole.value.mid + whole.value.rad
        )
        fails = ~(highest + 8 * EPS * (whole.value.magnitude + abs(trial.floor)) < 0)
        weights = weights + torch.where(fails[:, None], slope / slope.amax(1, keepdim=True).clamp(min=1e-300), 0.0)
        failing = failing | fails
    shell = trial.shell * trial.half * (1 - 8 * EPS)
    inside = ((parts[:, 0] >= trial.rest - shell) & (parts[:, 1] <= trial.rest + shell)).all(1)
    still = failing & ~inside
    return parts[still], weights[still], parts[:0]
