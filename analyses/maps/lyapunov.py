"""How fast do neighbours part? Lyapunov exponents of each attractor, with standard errors.

Method: discrete QR (Benettin et al., Meccanica 15, 1980; Geist, Parlitz, Lauterborn, Prog. Theor. Phys. 83, 1990) with
tangents carried by ``push`` and orthonormalised before they part by more than ``PARTED``; state and frame share a transient.
Starts are grouped by the attractor they end on before anything is averaged. Standard errors come from the spread of means over
the longest blocks of a group's runs that leave 32 of them: whole runs where there are as many starts.

Takes (dynamics, starts (starts, dim)); costs (burn_in + steps) pushes of k tangents and QRs of (starts, dim, k).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._attractors import by_size, grouped, periods_of
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian, push
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAIL = 256  # states kept of the last half of each run, evenly spaced, to tell attractors apart
LAST = 128  # last states, for the period
BLOCKS = 32  # of a run, and fewest means of a group whose spread gives the standard error: known to 1 / sqrt(62), 13 %
CURVE = 200  # points of the running curve
WIDEST_DETERMINANT = 64  # the sum rule costs a determinant a step; wider maps go without
GROWS = 1.2  # times further out, quarter after quarter of a run: on the way to infinity (a drift: 1.5, then 1.33)
SHORTEST = 64  # steps below which quarters say nothing
SURE = 3.0  # standard errors that a verdict must clear
PARTED = 1e4  # ratio of the longest to the shortest tangent at which the frame is orthonormalised: costs four digits of sixteen
LONGEST = 32  # steps between orthonormalisations at most
FLOOR = 1e-9  # no exponent is claimed to be known better: a thousand steps of rounding


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum(Result):
    """Exponents of each attractor, per unit of the clock.

    Attributes
    ----------
    exponents : (attractors, directions)
        Descending; attractors by the number of starts that end there, most first.
    standard_errors : (attractors, directions)
        Of a group's mean; 0 to rounding on a fixed point, NaN when there were too few steps. With 31 degrees of freedom 1.96 of
        them hold 94 % of a normal error.
    per_start : (starts, directions)
        NaN for a start that left every bound: its state overflowed, or, without drives, reached ever further from quarter to
        quarter of the run.
    per_start_errors : (starts, directions)
        Standard errors of these, from the blocks of the start's own run: too wide where that growth is bounded by its ends (a
        zero exponent, the logistic map at r = 4), since such a mean errs by 1 / steps and not by 1 / sqrt(steps).
    attractor : (starts,)
        The attractor each start ends on; -1 for a start that left every bound.
    sizes : (attractors,)
    running : (kept, attractors, directions)
        Means up to evenly spaced steps: the convergence.
    running_steps : (kept,)
        Those steps.
    verdicts
        One an attractor, at three standard errors of the leading exponent: chaotic; a stable fixed point or cycle with its
        period; zero within its error; "stable" alone for a driven run.
    outcome
        How the run ended.
    checks
        With all directions: their sum against the mean of ln |det J|, for each attractor.
    """

    exponents: Float[np.ndarray, "attractors directions"]
    standard_errors: Float[np.ndarray, "attractors directions"]
    per_start: Float[np.ndarray, "starts directions"]
    per_start_errors: Float[np.ndarray, "starts directions"]
    attractor: Int[np.ndarray, " starts"]
    sizes: Int[np.ndarray, " attractors"]
    running: Float[np.ndarray, "kept attractors directions"]
    running_steps: Int[np.ndarray, " kept"]
    verdicts: tuple[str, ...]
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def kaplan_yorke(self) -> np.ndarray:
        """(attractors,) Kaplan-Yorke dimension; NaN when the directions do not reach a negative sum."""
        return np.array([_kaplan_yorke(row) for row in self.exponents])

    @property
    def kaplan_yorke_errors(self) -> np.ndarray:
        """(attractors,) bound of the standard error, as if those of the exponents were fully correlated."""
        pairs = zip(self.exponents, self.standard_errors, self.kaplan_yorke, strict=True)
        return np.array([_kaplan_yorke_error(row, error, dimension) for row, error, dimension in pairs])

    @property
    def entropies(self) -> np.ndarray:
        """(attractors,) sum of the positive exponents: the entropy rate, where Pesin's identity holds, in nats."""
        return np.where(self.exponents > 0, self.exponents, 0.0).sum(axis=1)

    @property
    def entropy_errors(self) -> np.ndarray:
        """(attractors,) bound of its standard error."""
        return np.where(self.exponents > 0, self.standard_errors, 0.0).sum(axis=1)

    def summary(self) -> str:
        """How many starts stayed bounded, and the leading exponent and verdict of the largest attractors."""
        bounded = int((self.attractor >= 0).sum())
        if not len(self.running_steps):
            return f"0 of {len(self.attractor)} starts have exponents: the run {self.outcome.value} before its burn-in was over"
        if not bounded:
            return f"0 of {len(self.attractor)} starts stay bounded"
        text = f"{bounded} of {len(self.attractor)} starts stay bounded, on {counted(len(self.sizes), 'attractor')}"
        leading = [
            f"{row[0]:+.3g} ± {np.maximum(error[0], FLOOR):.1g} ({verdict}, {counted(int(size), 'start')})"
            for row, error, verdict, size in zip(
                self.exponents, self.standard_errors, self.verdicts, self.sizes, strict=True
            )
        ]
        text += f"; largest exponents: {', '.join(leading[:3])}" if leading else ""
        text += f", and {len(leading) - 3} more" if len(leading) > 3 else ""
        return text + ("; the others grow without bound" if bounded < len(self.attractor) else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Exponents with two standard errors, attractor by attractor."""
        ax = axes_or_new(ax)
        for number, (row, error) in enumerate(zip(self.exponents[:8], self.standard_errors[:8], strict=True)):
            shown = np.isfinite(row)
            ax.errorbar(np.arange(1, len(row) + 1)[shown], row[shown], 2 * error[shown], fmt="o-", markersize=3, linewidth=0.8,
                        label=f"attractor {number + 1} ({counted(int(self.sizes[number]), 'start')})")  # fmt: skip
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="direction", ylabel="exponent per unit of the clock")
        if len(self.exponents):
            ax.legend(frameon=False, fontsize="small")
        return ax


@dataclass(frozen=True, eq=False)
class Sweep:
    """All starts after one more step; sums have fixed size."""

    step: int
    states: Tensor  # (starts, dim)
    frame: Tensor  # (starts, dim, directions)
    blocks: Tensor  # (blocks, starts, directions) growth summed within each block
    log_det: Tensor  # (starts,)
    tail: Tensor  # (starts, tail, dim), a ring of every (steps / 2 tail)-th state
    last: Tensor  # (starts, last, dim), a ring
    reach: Tensor  # (2, 3, starts), largest and smallest largest coordinate in the second, third and last quarter of the run
    interval: int  # steps between orthonormalisations
    since: int  # steps since the last one: their growth is still in the frame


def lyapunov_spectrum(
    dynamics: Dynamics,
    starts: Any,
    *,
    steps: int,
    directions: int | None = None,
    burn_in: int = 0,
    drives: Any = None,
    watch: Watch = quiet,
) -> LyapunovSpectrum:
    """Lyapunov exponents along the orbits of given starts.

    Parameters
    ----------
    starts : (starts, dim)
    steps
        Averaged over, after ``burn_in`` steps in which state and frame settle.
    directions
        Leading exponents wanted; all ``dim`` when left out.
    drives : (burn_in + steps, inputs) or (starts, burn_in + steps, inputs)
        Conditional exponents of a driven map along these drives. Starts with one drive in common form one group, since a
        stable driven map forgets where it started; else each start is its own.
    watch
        Wraps the loop; stopped early, the numbers so far are returned with the outcome OUT_OF_TIME.

    Returns
    -------
    LyapunovSpectrum
        -inf, not NaN, where a direction is annihilated.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For no steps, more directions than dim, or drives too short.

    Notes
    -----
    A run is cut into 32 blocks, fewer when steps are. Of a group of S starts, as many blocks of a run are joined as leave 32
    means or more over the group, and the standard error is the standard deviation of these M means over sqrt(M): right when the
    joined blocks outlast correlations, and whatever the correlations when S is 32 or more, provided the starts are independent.
    Under one drive in common they are not (a stable map forgets where it started): the M means are then the group's, block by
    block.
    """
    now = as_states(dynamics, starts)
    k = dynamics.dim if directions is None else directions
    if steps < 1 or burn_in < 0 or not 1 <= k <= dynamics.dim:
        raise InputError(
            f"steps={steps}, burn_in={burn_in}, directions={k}: need a step and 1 to {dynamics.dim} directions"
        )
    driving = None if drives is None else as_drive(dynamics, drives)
    if driving is None:
        autonomous(dynamics, "lyapunov_spectrum without drives")
    elif driving.ndim not in (2, 3) or driving.shape[-2] < burn_in + steps:
        raise InputError(f"{burn_in} + {steps} drives are needed, but shape {tuple(driving.shape)} came")

    sweep = None
    for sweep in watch(_sweeps(dynamics, now, steps, burn_in, k, driving), burn_in + steps):
        pass
    done = 0 if sweep is None else sweep.step - burn_in
    if sweep is None or done < 1:
        return _nothing(len(now), k)

    if sweep.since:  # stopped between two orthonormalisations
        sweep.blocks[(done - 1) // _block(steps)] += _orthonormal(sweep.frame)[1]
    used = -(-done // _block(steps))
    lengths = np.full(used, _block(steps), dtype=np.float64)
    lengths[-1] = done - (used - 1) * _block(steps)
    growth = sweep.blocks[:used].double().cpu().numpy() / dynamics.dt
    bounded = torch.isfinite(sweep.states).all(1)
    if driving is None and done == steps >= SHORTEST:
        bounded &= ~_growing(sweep.reach)
    bounded = bounded.cpu().numpy() & ~np.isnan(growth).any(axis=(0, 2))
    if driving is None:
        # the rings in the order of time, without the starts that fill them up in a short run
        kept = -(-sweep.step // _stride(steps))
        tail = sweep.tail.roll(-(kept % TAIL), 1)[:, -min(max(1, done // _stride(steps)), TAIL) :]
        last = sweep.last.roll(-(sweep.step % LAST), 1)[:, -min(done, LAST) :]
        groups, resting = grouped(tail.double().cpu().numpy(), bounded)
        periods = periods_of(last.double().cpu(), LAST // 2).numpy()
    else:  # a stable driven map forgets where it started, so starts share an attractor when they share their drives
        alike = np.zeros(len(bounded), dtype=np.int64) if driving.ndim == 2 else np.arange(len(bounded))
        groups, resting = by_size(np.where(bounded, alike, -1)), np.zeros(len(bounded), dtype=bool)
        periods = np.full(len(bounded), -1, dtype=np.int64)
    full = k == dynamics.dim and dynamics.dim <= WIDEST_DETERMINANT
    determinants = sweep.log_det.double().cpu().numpy() / dynamics.dt / done if full else None
    outcome = Outcome.CONVERGED if done == steps else Outcome.OUT_OF_TIME
    eps = torch.finfo(dynamics.dtype).eps
    shared = driving is not None and driving.ndim == 2
    return _spectrum(growth, lengths, groups, shared, resting, periods, determinants, outcome, dynamics.dt, eps)


def _nothing(starts: int, k: int) -> LyapunovSpectrum:
    """The result of a run that was stopped within its burn-in."""
    none = np.zeros((0, k))
    return LyapunovSpectrum(
        exponents=none,
        standard_errors=none.copy(),
        per_start=np.full((starts, k), np.nan),
        per_start_errors=np.full((starts, k), np.nan),
        attractor=np.full(starts, -1, dtype=np.int64),
        sizes=np.zeros(0, dtype=np.int64),
        running=np.zeros((0, 0, k)),
        running_steps=np.zeros(0, dtype=np.int64),
        verdicts=(),
        outcome=Outcome.OUT_OF_TIME,
        checks=(),
    )


def _block(steps: int) -> int:
    """Steps in a block."""
    return max(1, -(-steps // BLOCKS))


def _stride(steps: int) -> int:
    """Steps between the states kept to tell attractors apart: a map that approximates a flow needs many for a turn."""
    return max(1, steps // (2 * TAIL))


def _growing(reach: Tensor) -> Tensor:
    """(starts,) bool: each of the last three quarters of a run reaches well beyond the one before, and the last stays there.

    The second condition lets slow outward spirals pass, which come back (Roessler's).
    """
    largest, smallest = reach
    return (largest[1] > GROWS * largest[0]) & (largest[2] > GROWS * largest[1]) & (smallest[2] > largest[0])


def _sweeps(
    dynamics: Dynamics, states: Tensor, steps: int, burn_in: int, k: int, driving: Tensor | None
) -> Iterator[Sweep]:
    starts, dim = states.shape
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(starts, dim, k, generator=generator, dtype=torch.float64).to(states))[0]
    blocks = states.new_zeros(BLOCKS, starts, k)
    log_det = states.new_zeros(starts)
    tail, last = states[:, None].repeat(1, TAIL, 1), states[:, None].repeat(1, LAST, 1)
    stride = _stride(steps)
    reach = torch.stack([states.new_zeros(3, starts), states.new_full((3, starts), float("inf"))])
    full = k == dim and dim <= WIDEST_DETERMINANT
    interval, since, fastest = 1, 0, 0.0
    for step in range(burn_in + steps):
        drive = None if driving is None else driving[..., step, :]
        before = states
        states, frame = push(dynamics, states, frame, drive)
        frame = torch.where(torch.isfinite(states).all(1)[:, None, None], torch.nan_to_num(frame), 0.0)
        taken, since = step + 1 - burn_in, since + 1
        if since >= interval or taken % _block(steps) == 0 or taken == steps:
            frame, logs = _orthonormal(frame)
            if taken > 0:
                blocks[(taken - 1) // _block(steps)] += logs
            fastest = max(fastest, _parting(logs, since))
            interval, since = _interval(fastest, since), 0
        if taken > 0 and full:
            log_det += torch.linalg.slogdet(jacobian(dynamics, before, drive))[1]
        quarter = 4 * (taken - 1) // steps
        if quarter > 0 and taken > 0:
            size = states.abs().amax(1)
            reach[0, quarter - 1] = torch.maximum(reach[0, quarter - 1], size)
            reach[1, quarter - 1] = torch.minimum(reach[1, quarter - 1], size)
        last[:, step % LAST] = states
        if step % stride == 0:
            tail[:, step // stride % TAIL] = states
        yield Sweep(step + 1, states, frame, blocks, log_det, tail, last, reach, interval, since)


def _orthonormal(frame: Tensor) -> tuple[Tensor, Tensor]:
    """The frame orthonormalised, and ln of how much each of its directions had grown."""
    frame, R = torch.linalg.qr(frame)
    stretch = torch.diagonal(R, dim1=1, dim2=2)
    return frame * torch.where(stretch < 0, -1.0, 1.0)[:, None, :], stretch.abs().log()


def _parting(logs: Tensor, since: int) -> float:
    """By how much ln of the stretches came apart a step, in the start where it was most; infinite where one was annihilated."""
    return float((logs.amax(1) - logs.amin(1)).nan_to_num(0.0, posinf=torch.inf).max()) / since if logs.numel() else 0.0


def _interval(fastest: float, since: int) -> int:
    """Steps until directions that part as fast as they ever did are ``PARTED``, but at most twice as many as the last time.

    An orbit that passes slowly parts little for a while: steps chosen from that alone would run on until the frame collapses.
    """
    return max(1, min(LONGEST, 2 * since, int(math.log(PARTED) / max(fastest, 1e-9)))) if math.isfinite(fastest) else 1


def _spectrum(
    growth: np.ndarray,
    lengths: np.ndarray,
    groups: np.ndarray,
    shared: bool,
    resting: np.ndarray,
    periods: np.ndarray,
    determinants: np.ndarray | None,
    outcome: Outcome,
    dt: float,
    eps: float,
) -> LyapunovSpectrum:
    """Averages over groups from growth (blocks, starts, directions) summed over blocks of these lengths."""
    blocks, _, k = growth.shape
    attractors = int(groups.max(initial=-1)) + 1
    per_start = np.where((groups >= 0)[:, None], growth.sum(axis=0) / lengths.sum(), np.nan)
    exponents, errors = np.zeros((attractors, k)), np.zeros((attractors, k))
    kept = np.unique(np.linspace(1, blocks, min(CURVE, blocks)).astype(int))
    running = np.zeros((len(kept), attractors, k))
    checks, verdicts = [], []
    whole = growth[lengths == lengths[0]] / lengths[0]
    for group in range(attractors):
        members = groups == group
        mean = per_start[members].mean(axis=0)
        order = np.argsort(-mean, kind="stable")
        exponents[group] = mean[order]
        of_group = whole[:, members]
        errors[group] = _standard_errors(of_group.mean(axis=1, keepdims=True) if shared else of_group)[order]
        sums = np.cumsum(growth[:, members].mean(axis=1), axis=0) / np.cumsum(lengths)[:, None]
        running[:, group] = sums[kept - 1][:, order]
        still, period = bool(resting[members].all()), int(periods[members][0])
        verdicts.append(_verdict(exponents[group, 0], errors[group, 0], still, period))
        if determinants is not None and np.isfinite(mean).all():
            expected = float(determinants[members].mean())
            # rounding of k logarithms a step, and of the smallest stretch, which is good to eps times the largest
            allowed = max(FLOOR, 1e3 * eps) * max(1.0, float(np.abs(mean).sum()))
            allowed += k * eps * float(np.exp(min(max(np.ptp(mean) * dt, math.log(PARTED)), 700.0))) / dt
            checks.append(
                Check(f"sum of exponents, attractor {group + 1}: mean ln |det J|", expected, float(mean.sum()), allowed)
            )
    return LyapunovSpectrum(
        exponents=exponents,
        standard_errors=errors,
        per_start=per_start,
        per_start_errors=np.where(np.isnan(per_start), np.nan, _spread(whole)),
        attractor=groups,
        sizes=np.bincount(groups[groups >= 0], minlength=attractors).astype(np.int64),
        running=running,
        running_steps=np.cumsum(lengths)[kept - 1].astype(np.int64),
        verdicts=tuple(verdicts),
        outcome=outcome,
        checks=tuple(checks),
    )


def _standard_errors(means: np.ndarray) -> np.ndarray:
    """(directions,) of the mean of (blocks, starts, directions) block means, from the longest blocks that leave ``BLOCKS``."""
    blocks, starts, k = means.shape
    joined = min(blocks, max(1, blocks * starts // BLOCKS))
    whole = means[: blocks // joined * joined].reshape(-1, joined, starts, k)
    return _spread(whole.mean(axis=1).reshape(-1, k))


def _spread(means: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis: NaN for fewer than two, 0 where one is -inf."""
    if len(means) < 2:
        return np.full(means.shape[1:], np.nan)
    gone = np.isinf(means).any(axis=0)
    return np.where(gone, 0.0, np.where(gone, 0.0, means).std(axis=0, ddof=1) / np.sqrt(len(means)))


def _verdict(leading: float, error: float, resting: bool, period: int) -> str:
    """What the leading exponent says, when it clears ``SURE`` standard errors; period 0 for none, -1 for a driven run."""
    doubt = max(SURE * error, FLOOR)
    if leading > doubt:
        return "an unstable rest or cycle, never left" if resting else "chaotic"
    if leading < -doubt:
        if period <= 0:
            return "stable" if period else "stable, not yet at rest"
        return "stable fixed point" if period == 1 else f"stable cycle of period {period}"
    return "zero within its error: quasi-periodic, or undecided"


def _kaplan_yorke(exponents: np.ndarray) -> float:
    sums = np.cumsum(exponents)
    if exponents[0] < 0:
        return 0.0
    whole = int((sums >= 0).sum())
    if whole == len(exponents):
        return float("nan")
    return whole + float(sums[whole - 1] / -exponents[whole])


def _kaplan_yorke_error(exponents: np.ndarray, errors: np.ndarray, dimension: float) -> float:
    """D = j + S_j / |l|, l the first exponent after the sum S_j turns: its errors are those of S_j, and of l by S_j / l^2."""
    if math.isnan(dimension) or dimension == 0:
        return 0.0 if dimension == 0 else math.nan
    whole = int((np.cumsum(exponents) >= 0).sum())
    turning = exponents[whole]
    if not math.isfinite(turning):
        return 0.0
    return float((errors[:whole].sum() + (dimension - whole) * errors[whole]) / abs(turning))
