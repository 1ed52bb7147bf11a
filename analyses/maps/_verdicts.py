"""What the exponents of one attractor say, at ``SURE`` standard errors; whether they have settled; what they must satisfy."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats

from analyses.maps._dimension import FLOOR
from analyses.maps._runs import Run
from analyses.maps._sweeps import PARTED
from analyses.result import Check

SURE = 3.0  # standard errors that a verdict must clear
MEANS = 32  # from which a standard error is taken at least: blocks are merged as far as the starts allow
SEEN = 5.0  # ln of the growth over a run that would have shown: with a larger doubt, zero is not told from a small exponent,
SHARP = 1e-3  # unless the doubt is at most this share of the next exponent
LEVEL = 0.01  # chance that the two halves of a settled run are called different, over all directions together
DIGITS = 1e-3  # of an exponent: halves that differ by less agree whatever the error


def doubts(errors: np.ndarray) -> np.ndarray:
    """How far from zero an exponent must be to have a sign; NaN where there is no standard error."""
    return np.maximum(SURE * errors, FLOOR)


def verdict(
    exponents: np.ndarray,
    errors: np.ndarray,
    *,
    time: float,
    complete: bool,
    settled: bool,
    resting: bool,
    period: int,
    flow: bool,
) -> str:
    """The attractor's kind.

    Parameters
    ----------
    exponents, errors : (directions,)
        Descending.
    time
        Of the run, after its burn-in.
    complete
        Whether these are all of them.
    settled
        Whether the run's two halves agree.
    resting, period
        Whether the orbit returns to the same states, and after how many steps: 0 for no period found, -1 for a driven run.
    flow
        Whether the map is an autonomous flow.
    """
    doubt = doubts(errors)
    if math.isnan(doubt[0]):
        return "undecided: too few steps for an error"
    if exponents[0] > doubt[0]:
        return "an unstable rest or cycle, never left" if resting else "chaotic"
    if exponents[0] < -doubt[0]:
        if period <= 0:
            return "stable" if period else "stable, not yet at rest"
        return "stable fixed point" if period == 1 else f"stable cycle of period {period}"
    if period < 0:
        return "undecided: zero within its error"
    if period == 1 or (period > 1 and not flow):
        return "neutral fixed point" if period == 1 else f"neutral cycle of period {period}"
    return _without_growth(exponents, doubt, time, complete, settled, flow)


def _without_growth(
    exponents: np.ndarray, doubt: np.ndarray, time: float, complete: bool, settled: bool, flow: bool
) -> str:
    """The kind of an orbit that neither rests nor repeats, its leading exponent zero within its error."""
    if not settled:
        return "undecided: zero within its error, and the halves of the run differ"
    zero = np.abs(exponents) <= doubt
    zeros = len(zero) if zero.all() else int(zero.argmin())
    unseen = float(doubt[:zeros].max())
    if not (unseen * time <= SEEN or (zeros < len(zero) and unseen <= SHARP * abs(exponents[zeros]))):
        return f"undecided: zero, but growth by less than e^{unseen * time:.0f} would not have shown"
    if zeros == len(zero):
        return (
            "quasi-periodic: every exponent zero" if complete else "undecided: zero, and no further exponent is known"
        )
    if zeros > 1:
        return f"quasi-periodic: {zeros} zero exponents, the next negative"
    return f"{'periodic orbit' if flow else 'quasi-periodic'}: one zero exponent, the next negative"


def halves_agree(means: np.ndarray) -> bool:
    """Whether the second half of (blocks, starts, directions) block means agrees with the first, in every direction.

    By a t test at ``LEVEL`` over all directions, or to ``DIGITS``. False for fewer than four blocks.
    """
    half = len(means) // 2
    if half < 2:
        return False
    gone = np.isinf(means).any(axis=(0, 1))  # annihilated
    first, second = means[:half][..., ~gone], means[-half:][..., ~gone]
    one, other = first.mean(axis=(0, 1)), second.mean(axis=(0, 1))
    errors = np.hypot(standard_error(first), standard_error(second))
    freedom = 2 * (len(merged(first)) - 1)
    allowed = stats.t.isf(LEVEL / (2 * max(1, len(one))), freedom) * errors
    return bool((np.abs(one - other) <= np.maximum(np.maximum(allowed, FLOOR), DIGITS * np.abs(one))).all())


def merged(means: np.ndarray, least: int = MEANS) -> np.ndarray:
    """(means, directions) from block means (blocks, starts, directions), of as many blocks as leave ``least`` of them.

    Growth within a block ends with a fluctuation that the next block takes back, so that short blocks overstate the error.
    """
    blocks, starts, k = means.shape
    batches = min(blocks, max(1, -(-least // max(1, starts))))
    size = blocks // batches
    return means[: batches * size].reshape(batches, size, starts, k).mean(axis=1).reshape(batches * starts, k)


def standard_error(means: np.ndarray, least: int = MEANS) -> np.ndarray:
    """(directions,) standard error of the mean of (blocks, starts, directions) block means; 0 where one is -inf."""
    return spread(merged(means, least))


def spread(means: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis: NaN for fewer than two, 0 where one is -inf."""
    if len(means) < 2:
        return np.full(means.shape[1:], np.nan)
    gone = np.isinf(means).any(axis=0)
    return np.where(gone, 0.0, np.where(gone, 0.0, means).std(axis=0, ddof=1) / np.sqrt(len(means)))


def checks_of(run: Run, group: int, exponents: np.ndarray, errors: np.ndarray) -> list[Check]:
    """What must hold of these exponents, as far as it is known of the map."""
    members, name, dynamics = run.groups == group, f"attractor {group + 1}", run.dynamics
    eps, checks = torch.finfo(dynamics.dtype).eps, []
    finite = exponents[np.isfinite(exponents)]
    # rounding of k logarithms a step, and of the smallest stretch, which is good to eps times the largest
    rounding = max(FLOOR, 1e3 * eps) * max(1.0, float(np.abs(finite).sum()))
    if len(finite):
        parted = min(max(float(np.ptp(finite)) * dynamics.dt, math.log(PARTED)), 700.0)
        rounding += len(exponents) * eps * math.exp(parted) / dynamics.dt
    expected = float(run.determinants[members].mean())
    if len(finite) == len(exponents) and not math.isnan(expected):
        checks.append(Check(f"sum of exponents, {name}: mean ln |det J|", expected, float(exponents.sum()), rounding))

    whole = run.lengths == run.lengths[0]
    own = run.growth[whole][:, members][..., _descending(run.growth[:, members])] / run.lengths[0]
    if len(run.within_layers):
        # two frames along one orbit differ by a bounded turn, which the spread of single blocks covers, and by how far they are
        # still from settled, which shows in how their difference moves from the run's first half to its second
        order = _descending(run.within_layers[:, members])
        within = run.within_layers[whole][:, members][..., order] / run.lengths[0]
        means = run.within_layers[:, members].sum(axis=0).mean(axis=0)[order] / run.lengths.sum()
        known = np.isfinite(own).all(axis=(0, 1)) & np.isfinite(within).all(axis=(0, 1))
        moved = np.abs(_moved(own[..., known] - within[..., known])).max(initial=0.0)
        single = own[..., 0].size
        allowed = SURE * (standard_error(own, single) + standard_error(within, single)) + moved + rounding
        with np.errstate(invalid="ignore"):
            apart = np.where(exponents == means, 0.0, np.abs(exponents - means))  # -inf is -inf
        worst = int((apart / allowed).argmax())
        union = (float(means[worst]), float(exponents[worst]), float(allowed[worst]))
        checks.append(Check(f"direction {worst + 1}, {name}: the same in the union of the layers' exponents", *union))

    period, slowing, doubt = int(run.periods[members][0]), float(run.drift[members].mean()), doubts(errors)
    moving = period > 1 or (period == 0 and not run.resting[members].all())
    if moving and (len(exponents) == dynamics.dim or exponents[-1] <= doubt[-1]):
        nearest = int(np.abs(exponents).argmin())
        settling = abs(float(_moved(own[..., nearest : nearest + 1])[0]))  # of the frame
        tolerance = float(doubt[nearest]) + abs(slowing) + settling
        checks.append(Check(f"zero exponent of a flow, {name}", 0.0, float(exponents[nearest]), tolerance))
    return [check for check in checks if math.isfinite(check.tolerance)]  # no error or no flow, no check


def _moved(means: np.ndarray) -> np.ndarray:
    """(directions,) by how much (blocks, starts, directions) means move from the run's first half to its second."""
    half = max(1, len(means) // 2)
    return means[-half:].mean(axis=(0, 1)) - means[:half].mean(axis=(0, 1))


def _descending(growth: np.ndarray) -> np.ndarray:
    """Order of the directions of growth (blocks, starts, directions), the one that grows most first."""
    return np.argsort(-growth.sum(axis=0).mean(axis=0), kind="stable")
