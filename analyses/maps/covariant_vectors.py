"""Along which directions do neighbours part at each exponent's rate, and how close do these come? Covariant Lyapunov vectors.

Method: discrete QR forward, then the triangular coefficients of the vectors in the QR frames backward, each with a transient
of its own (Ginelli et al., Phys. Rev. Lett. 99, 130601, 2007; Kuptsov and Parlitz, J. Nonlinear Sci. 22, 2012).
The backward pass runs from two random ends: where they do not meet, a vector is not determined.

Takes (dynamics, starts (starts, dim)); k directions cost one push of at most k + 1 tangents and a QR a step, and two triangular
solves backward. All triangular factors are kept: (steps + after) x starts x (k + 1)^2 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian, push
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)  # of the quantiles of angles over the orbit
BLOCKS = 32  # of which means are taken for the standard error
KEPT = 200  # steps at which vectors are kept when the thinning is left out
SURE = 3.0  # standard errors that a gap or a sign must clear
FLOOR = 1e-9  # no exponent is claimed to be known better: a thousand steps of rounding
MET = 1e-6  # sine below which two backward passes have met
WIDEST_DETERMINANT = 64  # the sum rule costs a determinant a step; wider maps go without


@dataclass(frozen=True, eq=False)
class CovariantVectors(Result):
    """Covariant Lyapunov vectors along each start's orbit, and their angles. Rates are per unit of the clock, angles radians.

    Attributes
    ----------
    exponents, standard_errors : (starts, directions)
        From the forward pass, largest first up to their errors; errors from block means. NaN for a start that overflowed.
    vector_exponents : (starts, directions)
        From the growth of each covariant vector; apart from ``exponents`` by a bounded turn over the time.
    isolated : (starts, directions)
        Whether the exponent is apart from both its neighbours by more than three standard errors of the gap; only then is
        there one vector for it and not a plane of them.
    unmet : (starts, directions)
        Largest sine between the vectors of two backward passes from different random ends, over the kept steps.
    vectors : (kept, starts, dim, directions)
        Unit columns, signs arbitrary; NaN from the first direction that is annihilated, or lost to rounding, in a step.
    states : (kept, starts, dim)
        Where they stand.
    kept_steps : (kept,)
        Steps after the burn-in.
    levels : (levels,)
        Of the quantiles of angles over the orbit; the first is the smallest angle seen.
    neighbour_angles : (starts, directions - 1, levels)
        Between vectors i and i + 1 as lines, 0 to pi / 2.
    subspace_angles : (starts, levels)
        Smallest principal angle between the unstable and the stable vectors found; NaN where one of the two is missing.
    unstable, stable : (starts,)
        How many exponents are positive, and negative, beyond three standard errors.
    finite_time : (starts, windows, directions)
        Growth of each vector over consecutive windows.
    window
        Steps in a window.
    outcome
        How the run ended.
    checks
        Each vector is carried to itself; both sets of exponents differ by no more than the vectors turn from the frame between
        the ends, over the time; with all directions, the exponents' sum is the mean ln |det J|.
    """

    exponents: Float[np.ndarray, "starts directions"]
    standard_errors: Float[np.ndarray, "starts directions"]
    vector_exponents: Float[np.ndarray, "starts directions"]
    isolated: Bool[np.ndarray, "starts directions"]
    unmet: Float[np.ndarray, "starts directions"]
    vectors: Float[np.ndarray, "kept starts dim directions"]
    states: Float[np.ndarray, "kept starts dim"]
    kept_steps: Int[np.ndarray, " kept"]
    levels: Float[np.ndarray, " levels"]
    neighbour_angles: Float[np.ndarray, "starts pairs levels"]
    subspace_angles: Float[np.ndarray, "starts levels"]
    unstable: Int[np.ndarray, " starts"]
    stable: Int[np.ndarray, " starts"]
    finite_time: Float[np.ndarray, "starts windows directions"]
    window: int
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def determined(self) -> np.ndarray:
        """(starts, directions) whether the exponent is isolated and both backward passes met."""
        return self.isolated & (self.unmet < MET)

    def summary(self) -> str:
        """How many vectors are determined, and how near the unstable and stable ones come."""
        if self.outcome is not Outcome.CONVERGED:
            return f"0 of {self.exponents.size} vectors: the run {self.outcome.value} before its backward pass was over"
        text = f"{int(self.determined.sum())} of {self.exponents.size} vectors are determined"
        gaps = np.abs(self.vector_exponents - self.exponents)[self.determined]
        text += f", whose exponents are within {gaps.max():.1g} of the frame's" if len(gaps) else ""
        shared = int((np.isfinite(self.exponents) & ~self.isolated).sum())
        text += f"; {shared} share their exponent with a neighbour within its error" if shared else ""
        lost = int(np.isnan(self.exponents).any(axis=1).sum())
        text += f"; {counted(lost, 'start')} left every bound" if lost else ""
        split = np.isfinite(self.subspace_angles[:, 0])
        if not split.any():
            return text + "; no start has both unstable and stable vectors"
        seen = np.degrees(self.subspace_angles[split])
        middle = np.median(seen[:, LEVELS.index(0.5)])
        return text + (
            f"; unstable and stable vectors come within {seen[:, 0].min():.3g} degrees of each other (median {middle:.3g}), "
            f"the smallest angle seen, not a bound"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Quantiles of the angle between unstable and stable vectors, one line a start."""
        ax = axes_or_new(ax)
        for row in self.subspace_angles:
            ax.plot(np.degrees(row), self.levels, color="C0", linewidth=0.8)
        ax.set(xlabel="angle between unstable and stable vectors (degrees)", ylabel="share of the orbit below",
               xlim=(0, 90), ylim=(0, 1))  # fmt: skip
        return ax


@dataclass(frozen=True, eq=False)
class Pass:
    """All starts after one more step, forward or backward; the long arrays are filled in place."""

    step: int
    factors: (
        Tensor  # (steps + after, starts, k, k): R forward, replaced by the coefficients C as the backward pass goes
    )
    stretches: Tensor  # (steps + after, starts, k) diagonal of R
    sizes: Tensor  # (steps + after, starts) largest entry of R
    growth: Tensor  # (steps, starts, k) of each covariant vector
    kept: Tensor  # (kept, starts, dim) states
    frames: Tensor  # (kept, 2, starts, dim, k) there and one step later
    log_det: Tensor  # (starts,)
    ends: Tensor  # (kept, 3, starts, k, k) coefficients there, one step later, and there from the other end
    turns: Tensor  # (2, starts, k) diagonals of the coefficients at the first step and after the last
    lost: Tensor  # (starts,) overflowed


def covariant_vectors(
    dynamics: Dynamics,
    starts: Any,
    *,
    steps: int,
    burn_in: int = 100,
    after: int = 100,
    directions: int | None = None,
    every: int | None = None,
    window: int = 10,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> CovariantVectors:
    """Covariant Lyapunov vectors, their exponents and their angles along the orbits of given starts.

    Parameters
    ----------
    starts : (starts, dim)
        Each is its own orbit; nothing is averaged over starts.
    steps
        Over which vectors are found.
    burn_in, after
        Steps before, in which state and frame settle, and beyond, in which the backward pass settles.
    directions
        Leading vectors wanted; all ``dim`` when left out. The stable subspace is whole only with all.
    every
        Vectors are kept at every so many steps; about 200 times when left out. Angles are taken at all steps.
    window
        Steps of a finite-time exponent.
    generator
        Of the frames and the random ends; a fixed seed when left out.
    watch
        Wraps both passes; a run stopped early has no vectors and the outcome OUT_OF_TIME.

    Raises
    ------
    DrivenError
        For a driven map.
    InputError
        For fewer steps than one or than a window, or more directions than dim.

    Notes
    -----
    Smallest angles over an orbit only fall as the orbit grows: none seen near zero does not show hyperbolicity.
    """
    autonomous(dynamics, "covariant_vectors")
    now = as_states(dynamics, starts)
    k = dynamics.dim if directions is None else directions
    every = max(1, steps // KEPT) if every is None else every
    if min(steps, window, every) < 1 or min(burn_in, after) < 0 or not 1 <= k <= dynamics.dim or window > steps:
        raise InputError(
            f"steps={steps}, burn_in={burn_in}, after={after}, every={every}, window={window}, directions={k}: need a "
            f"step, windows no longer than the steps and 1 to {dynamics.dim} directions"
        )
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    carried = min(k + 1, dynamics.dim)  # one more, to tell whether the last is isolated from below
    total = burn_in + 2 * (steps + after)
    done = None
    for done in watch(_passes(dynamics, now, steps, burn_in, after, carried, every, generator), total):
        pass
    if done is None or done.step < total:
        return _nothing(len(now), dynamics.dim, k, window)
    return _found(dynamics, done, steps, k, every, window)


def _passes(
    dynamics: Dynamics, states: Tensor, steps: int, burn_in: int, after: int, k: int, every: int, generator: torch.Generator
) -> Iterator[Pass]:  # fmt: skip
    starts, dim = states.shape
    length, kept = steps + after, -(-steps // every)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(states)

    frame = torch.linalg.qr(random(starts, dim, k))[0]
    zeros = states.new_zeros
    run = Pass(
        step=0, factors=zeros(length, starts, k, k), stretches=zeros(length, starts, k), sizes=zeros(length, starts),
        growth=zeros(steps, starts, k), kept=zeros(kept, starts, dim), frames=zeros(kept, 2, starts, dim, k),
        log_det=zeros(starts), ends=zeros(kept, 3, starts, k, k), turns=zeros(2, starts, k),
        lost=zeros(starts, dtype=torch.bool),
    )  # fmt: skip
    long = {name: value for name, value in vars(run).items() if name != "step"}
    determinants = k == dim <= WIDEST_DETERMINANT
    for step in range(burn_in + length):
        t = step - burn_in
        before, old = states, frame
        states, carried = push(dynamics, states, frame)
        run.lost.logical_or_(~torch.isfinite(states).all(1) | ~torch.isfinite(carried).all(2).all(1))
        states = torch.where(run.lost[:, None], before, states)
        carried = torch.where(run.lost[:, None, None], frame, carried)
        frame, R = torch.linalg.qr(carried)
        signs = torch.where(torch.diagonal(R, dim1=1, dim2=2) < 0, -1.0, 1.0).to(R)
        frame, R = frame * signs[:, None, :], signs[:, :, None] * R
        if t >= 0:
            run.factors[t], run.stretches[t] = R, torch.diagonal(R, dim1=1, dim2=2)
            run.sizes[t] = R.abs().amax((1, 2))
        if 0 <= t < steps:
            if determinants:
                run.log_det.add_(torch.linalg.slogdet(jacobian(dynamics, before))[1])
            if t % every == 0:
                run.kept[t // every], run.frames[t // every, 0], run.frames[t // every, 1] = before, old, frame
        yield Pass(step + 1, **long)

    ends = _unit(torch.triu(random(2, starts, k, k)))
    # an annihilated direction has no way back: its pivot is set to 1 and its vectors are left out at the end
    for t in reversed(range(length)):
        R = run.factors[t].clone()
        diagonal = torch.diagonal(R, dim1=1, dim2=2)
        diagonal[_annihilated(run.stretches[t])] = 1.0
        later = ends
        back = torch.linalg.solve_triangular(R.expand_as(later), later, upper=True)
        back = torch.where(torch.isfinite(back).all(3, keepdim=True).all(2, keepdim=True), back, later)
        ends = _unit(back)
        if t == steps - 1:
            run.turns[1] = torch.diagonal(later[0], dim1=1, dim2=2)
        if t < steps:
            run.growth[t] = -torch.linalg.vector_norm(back[0], dim=1).log()
            if t % every == 0:
                run.ends[t // every] = torch.stack([ends[0], later[0], ends[1]])
        run.factors[t] = ends[0]
        if t == 0:
            run.turns[0] = torch.diagonal(ends[0], dim1=1, dim2=2)
        yield Pass(burn_in + 2 * length - t, **long)


def _unit(columns: Tensor) -> Tensor:
    return columns / torch.linalg.vector_norm(columns, dim=-2, keepdim=True)


def _annihilated(stretches: Tensor) -> Tensor:
    """Whether a direction shrinks in one step beyond what rounding leaves of it beside the largest."""
    eps = torch.finfo(stretches.dtype).eps
    return stretches <= stretches.shape[-1] * eps * stretches.amax(-1, keepdim=True)


def _found(dynamics: Dynamics, run: Pass, steps: int, k: int, every: int, window: int) -> CovariantVectors:
    def numbers(tensor: Tensor) -> np.ndarray:
        return tensor.double().cpu().numpy()

    dt, eps = dynamics.dt, torch.finfo(dynamics.dtype).eps
    lost = run.lost.cpu().numpy()
    carried = run.growth.shape[2]
    gone = lost[:, None] | np.cumsum(_annihilated(run.stretches).any(0).cpu().numpy(), axis=1).astype(bool)
    with np.errstate(divide="ignore"):
        forward = np.log(numbers(run.stretches[:steps])) / dt
    growth = np.where(gone, np.nan, numbers(run.growth) / dt)
    exponents, errors = forward.mean(axis=0), _standard_errors(forward)
    exponents[lost], errors[lost] = np.nan, np.nan
    of_vectors = growth.mean(axis=0)

    with np.errstate(invalid="ignore"):
        clear = exponents[:, :-1] - exponents[:, 1:] > np.fmax(SURE * np.hypot(errors[:, :-1], errors[:, 1:]), FLOOR)
    edge = ~lost[:, None]
    isolated = np.hstack([edge, clear]) & np.hstack([clear, edge])
    doubt = np.fmax(SURE * errors, FLOOR)
    unstable, stable = ((sign * exponents > doubt)[:, :k].sum(axis=1) for sign in (1, -1))

    there, later, other = (run.frames[:, i] @ run.ends[:, j] for i, j in ((0, 0), (1, 1), (0, 2)))
    unmet = numbers(_sines(there, other).amax(0))
    flat = there.flatten(0, 1)
    arrived = push(dynamics, run.kept.flatten(0, 1), flat)[1].reshape(there.shape)
    missed = numbers(_sines(_unit(arrived), later).amax(0))
    ratio = numbers((run.sizes[:steps, :, None].log() - run.growth).amax(0))

    coefficients = numbers(run.factors[:steps])[..., :k]
    pairs = _angles(coefficients[..., :-1], coefficients[..., 1:])
    split = np.full((steps, len(lost)), np.nan)
    for start in np.flatnonzero((unstable > 0) & (stable > 0) & ~gone[:, :k].any(axis=1)):
        split[:, start] = _between(coefficients[:, start], int(unstable[start]), int(stable[start]))
    windows = steps // window
    over_windows = growth[: windows * window].reshape(windows, window, *growth.shape[1:]).mean(axis=1)
    vectors = np.where(gone[:, None, :k], np.nan, numbers(there)[..., :k])
    sound = ~gone[:, :k]
    off = float(missed[:, :k][sound].max(initial=0.0))
    rounding = 1e3 * eps * float(np.exp(np.clip(ratio[:, :k][sound], 0.0, 700.0).max(initial=0.0)))
    checks = [Check("largest sine between a carried vector and the vector there", 0.0, off, rounding)]
    # on the way back ln growth = ln R_ii + ln C_ii - ln C_ii a step later, so the two means differ by what the ends say
    turns = np.log(np.abs(numbers(run.turns)))
    beyond = np.abs(of_vectors - exponents - (turns[0] - turns[1]) / dt / steps)[:, :k][sound]
    size = np.abs(exponents[:, :k][sound]).max(initial=1.0)
    allowed = max(FLOOR, 1e3 * eps) * float(size) + rounding / dt
    gap = float(beyond.max(initial=0.0))
    checks.append(Check("exponents of vectors against frames, beyond the turn between the ends", 0.0, gap, allowed))
    finite = np.isfinite(exponents).all(axis=1)
    if carried == k == dynamics.dim <= WIDEST_DETERMINANT and finite.any():
        sums, expected = exponents[finite].sum(axis=1), numbers(run.log_det)[finite] / dt / steps
        worst = int(np.abs(sums - expected).argmax())
        total = np.abs(exponents[finite]).sum(axis=1).max()
        spread = float(np.exp(np.clip(np.ptp(exponents[finite], axis=1).max() * dt, 0.0, 700.0)))
        allowed = max(FLOOR, 1e3 * eps) * max(1.0, float(total)) + k * eps * spread / dt
        checks.append(Check("sum of exponents: mean ln |det J|", float(expected[worst]), float(sums[worst]), allowed))
    between = np.quantile(np.where(gone[:, 1:k], np.nan, pairs), LEVELS, axis=0)
    return CovariantVectors(
        exponents=exponents[:, :k], standard_errors=errors[:, :k], vector_exponents=of_vectors[:, :k],
        isolated=isolated[:, :k], unmet=np.where(gone, np.nan, unmet)[:, :k], vectors=vectors,
        states=np.where(lost[:, None], np.nan, numbers(run.kept)), kept_steps=np.arange(0, steps, every),
        levels=np.array(LEVELS), neighbour_angles=np.moveaxis(between, 0, -1),
        subspace_angles=np.quantile(split, LEVELS, axis=0).T, unstable=unstable, stable=stable,
        finite_time=np.moveaxis(over_windows, 0, 1)[..., :k], window=window, outcome=Outcome.CONVERGED, checks=tuple(checks),
    )  # fmt: skip


def _nothing(starts: int, dim: int, k: int, window: int) -> CovariantVectors:
    """The result of a run that was stopped."""
    unknown, no_angles = np.full((starts, k), np.nan), np.full((starts, k, len(LEVELS)), np.nan)
    none = np.zeros(starts, dtype=np.int64)
    return CovariantVectors(
        exponents=unknown, standard_errors=unknown.copy(), vector_exponents=unknown.copy(), unmet=unknown.copy(),
        isolated=np.zeros((starts, k), dtype=bool), vectors=np.zeros((0, starts, dim, k)), states=np.zeros((0, starts, dim)),
        kept_steps=np.zeros(0, dtype=np.int64), levels=np.array(LEVELS), neighbour_angles=no_angles[:, 1:],
        subspace_angles=no_angles[:, 0], unstable=none, stable=none.copy(), finite_time=np.zeros((starts, 0, k)),
        window=window, outcome=Outcome.OUT_OF_TIME, checks=(),
    )  # fmt: skip


def _standard_errors(rates: np.ndarray) -> np.ndarray:
    """(starts, directions) of the means over (steps, starts, directions), from block means; 0 where a direction is gone."""
    length = max(1, len(rates) // BLOCKS)
    blocks = len(rates) // length
    if blocks < 2:
        return np.full(rates.shape[1:], np.nan)
    means = rates[: blocks * length].reshape(blocks, length, *rates.shape[1:]).mean(axis=1)
    gone = np.isinf(means).any(axis=0)
    return np.where(gone, 0.0, np.where(gone, 0.0, means).std(axis=0, ddof=1) / np.sqrt(blocks))


def _sines(first: Tensor, second: Tensor) -> Tensor:
    """Between unit columns, as lines."""
    along = (first * second).sum(-2, keepdim=True)
    return torch.linalg.vector_norm(first - along * second, dim=-2)


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(...,) between unit columns as lines; exact to rounding near 0 and near pi / 2 alike."""
    along = (first * second).sum(axis=-2, keepdims=True)
    return np.arctan2(np.linalg.norm(first - along * second, axis=-2), np.abs(along[..., 0, :]))


def _between(coefficients: np.ndarray, unstable: int, stable: int) -> np.ndarray:
    """(steps,) smallest principal angle between the first and the last columns of triangular (steps, carried, k) coefficients.

    The first columns span the first coordinates, so the angle is read off an orthonormal basis of the last.
    """
    basis = np.linalg.qr(coefficients[:, :, -stable:])[0]
    cosine = np.linalg.svd(basis[:, :unstable], compute_uv=False)[:, 0]
    sine = np.linalg.svd(basis[:, unstable:], compute_uv=False)[:, -1]
    return np.arctan2(sine, cosine)
