"""How fast do neighbours part? Lyapunov exponents of each attractor, with standard errors.

Method: discrete QR (Benettin et al., Meccanica 15, 1980; Geist, Parlitz, Lauterborn, Prog. Theor. Phys. 83, 1990) with
tangents carried by ``push`` (``_sweeps``); state and frame share a transient. Starts are grouped by the attractor they end on
before anything is averaged. Standard errors come from block means, pooled over the starts of a group.

Takes (dynamics, starts (starts, dim)); costs (burn_in + steps) pushes of k tangents, and a QR of (starts, dim, k) when these
have parted. All of up to 64 directions are pushed with as many tangents again for the sum rule; all directions of a map in
layers with as many for their union.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.maps._dimension import kaplan_yorke, kaplan_yorke_errors
from analyses.maps._runs import Run, measured
from analyses.maps._sweeps import Sweep, beginning, copied, settings_of, sweeps
from analyses.maps._verdicts import (
    FLOOR,
    SURE,
    checks_of,
    halves_agree,
    spread,
    standard_error,
    verdict,
)
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE = 200  # points of the running curve


@dataclass(frozen=True, eq=False)
class LyapunovSpectrum(Result):
    """Exponents of each attractor, per unit of the clock.

    Attributes
    ----------
    exponents : (attractors, directions)
        Descending; attractors by the number of starts that end there, most first.
        At rest and on a cycle, two directions of one pair of complex eigenvalues share their mean: each alone oscillates.
    standard_errors : (attractors, directions)
        Of a group's mean; 0 to rounding on a fixed point, NaN when there were too few steps. With 31 degrees of freedom 1.96 of
        them hold 94 % of a normal error.
    per_start : (starts, directions)
        NaN for a start that left every bound: its state overflowed, or, without drives, reached ever further from quarter to
        quarter of the run.
    finite_time : (starts, windows, directions)
        Exponents over consecutive windows, at most 32: their distribution along each orbit. NaN as ``per_start``.
    window
        Steps in a window.
    attractor : (starts,)
        The attractor each start ends on; -1 for a start that left every bound.
    sizes : (attractors,)
    running : (kept, attractors, directions)
        Means up to evenly spaced steps: the convergence.
    running_steps : (kept,)
        Those steps.
    verdicts
        One an attractor; a sign counts at three standard errors. Chaotic; a fixed point or cycle with its period, stable,
        neutral or never left; with the leading exponent zero, by the next: the periodic orbit of a flow, or quasi-periodic
        (which critical maps, as where period doublings accumulate, can pass for); "stable" alone for a driven run; undecided,
        and why.
    converged : (attractors,)
        Whether the second half of the run agrees with the first in every direction (a t test at 1 % over all of them, or three
        digits); False with fewer than four blocks.
    outcome
        How the run ended.
    pushes
        Whether the run's pushes were compiled, and why not: what ``hooks.tangent.pushed`` says.
    checks
        For each attractor. With all directions: their sum is the mean of ln |det J|, and, where the map's coordinates lie in
        ``layers``, they are the union of the layers' own exponents (in the worst direction, at three standard errors and how
        far the difference moves between the halves of the run). On an autonomous flow, off every equilibrium, where the
        directions reach down to zero: the exponent nearest to zero is zero to three standard errors, how
        far it moves between the halves of the run, and ln(|v_end| / |v_start|) / time, the growth of the velocity, which the
        flow carries along.
    """

    exponents: Float[np.ndarray, "attractors directions"]
    standard_errors: Float[np.ndarray, "attractors directions"]
    per_start: Float[np.ndarray, "starts directions"]
    finite_time: Float[np.ndarray, "starts windows directions"]
    window: int
    attractor: Int[np.ndarray, " starts"]
    sizes: Int[np.ndarray, " attractors"]
    running: Float[np.ndarray, "kept attractors directions"]
    running_steps: Int[np.ndarray, " kept"]
    verdicts: tuple[str, ...]
    converged: Bool[np.ndarray, " attractors"]
    outcome: Outcome
    pushes: str
    checks: tuple[Check, ...]

    @property
    def per_start_errors(self) -> np.ndarray:
        """(starts, directions) standard errors of ``per_start``, from the windows of the start's own run; 0 where one is -inf.

        Too wide where growth is bounded by its ends (a zero exponent, the logistic map at r = 4): that mean errs by 1 / steps.
        """
        return spread(self.finite_time.swapaxes(0, 1))

    @property
    def kaplan_yorke(self) -> np.ndarray:
        """(attractors,) Kaplan-Yorke dimension; NaN when the directions do not reach a negative sum."""
        return kaplan_yorke(self.exponents)

    @property
    def kaplan_yorke_errors(self) -> np.ndarray:
        """(attractors,) bound of the standard error, as if those of the exponents were fully correlated."""
        return kaplan_yorke_errors(self.exponents, self.standard_errors)

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
        text += f"; signs at {SURE:g} standard errors, the run's halves agree on {int(self.converged.sum())} of {len(leading)}"
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


def lyapunov_spectrum(
    dynamics: Dynamics,
    starts: Any,
    *,
    steps: int,
    directions: int | None = None,
    burn_in: int = 0,
    drives: Any = None,
    resume: Any = None,
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
    resume
        A state of the same run, as ``interp.progress.saved_every`` writes it and ``last_saved`` reads it: the run goes on from
        there, to the same numbers bit by bit on the same machine. None begins.
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
        For no steps, more directions than dim, or drives too short; to resume, for a state of another map, of other starts,
        drives or settings, or for what is no such state.

    Notes
    -----
    The run is cut into 32 blocks (fewer when steps are), merged to as few as leave 32 block means over the S starts of a group;
    the standard error is the standard deviation of these M means over sqrt(M): right when they outlast correlations, and with
    32 independent starts or more whatever the correlations. Under one drive in common starts are not independent: the means are
    then those of the whole group, block by block.
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

    sweep = _begin(dynamics, now, driving, steps, burn_in, k, resume)
    left = burn_in + steps - sweep.step
    for sweep in watch(sweeps(dynamics, sweep, steps=steps, burn_in=burn_in, driving=driving), left):  # noqa: B020
        pass

    if sweep.step <= burn_in:
        return _nothing(len(now), k)
    return _spectrum(measured(dynamics, sweep, driving, steps, burn_in))


def _begin(
    dynamics: Dynamics, starts: Tensor, driving: Tensor | None, steps: int, burn_in: int, k: int, resume: Any
) -> Sweep:
    settings = settings_of(dynamics, starts, driving, steps, burn_in, k)
    if resume is None:
        return beginning(dynamics, starts, k, settings)
    if not isinstance(resume, Sweep):
        raise InputError(
            f"resume takes a state of this loop, as interp.progress.last_saved reads it, but {type(resume).__name__} came"
        )
    if resume.settings != settings:
        raise InputError(f"the state to resume belongs to {resume.settings}; this call is of {settings}")
    return copied(resume, dynamics.device)


def _nothing(starts: int, k: int) -> LyapunovSpectrum:
    """The result of a run that was stopped within its burn-in."""
    none = np.zeros((0, k))
    return LyapunovSpectrum(
        exponents=none,
        standard_errors=none.copy(),
        per_start=np.full((starts, k), np.nan),
        finite_time=np.zeros((starts, 0, k)),
        window=0,
        attractor=np.full(starts, -1, dtype=np.int64),
        sizes=np.zeros(0, dtype=np.int64),
        running=np.zeros((0, 0, k)),
        running_steps=np.zeros(0, dtype=np.int64),
        verdicts=(),
        converged=np.zeros(0, dtype=bool),
        outcome=Outcome.OUT_OF_TIME,
        pushes="",
        checks=(),
    )


def _spectrum(run: Run) -> LyapunovSpectrum:
    """Averages over the starts of each attractor."""
    blocks, _, k = run.growth.shape
    attractors, total = len(run.planes), run.lengths.sum()
    whole = run.lengths == run.lengths[0]
    window = int(run.lengths[0])
    bounded = run.groups >= 0
    exponents, errors = np.zeros((attractors, k)), np.zeros((attractors, k))
    kept = np.unique(np.linspace(1, blocks, min(CURVE, blocks)).astype(int))
    running = np.zeros((len(kept), attractors, k))
    converged = np.zeros(attractors, dtype=bool)
    checks, verdicts = [], []
    for group in range(attractors):
        members = run.groups == group
        order = np.argsort(-run.growth[:, members].sum(axis=0).mean(axis=0), kind="stable")
        grown = _averaged(run.growth[:, members][..., order], run.planes[group])
        exponents[group] = grown.sum(axis=0).mean(axis=0) / total
        means = grown[whole] / window
        means = means.mean(axis=1, keepdims=True) if run.shared else means  # alike starts know no more than one
        errors[group], converged[group] = standard_error(means), halves_agree(means)
        running[:, group] = (np.cumsum(grown.mean(axis=1), axis=0) / np.cumsum(run.lengths)[:, None])[kept - 1]
        verdicts.append(
            verdict(
                exponents[group],
                errors[group],
                time=total * run.dynamics.dt,
                complete=k == run.dynamics.dim,
                settled=bool(converged[group]),
                resting=bool(run.resting[members].all()),
                period=int(run.periods[members][0]),
                flow=run.dynamics.flow,
            )
        )
        checks += checks_of(run, group, exponents[group], errors[group])
    return LyapunovSpectrum(
        exponents=exponents,
        standard_errors=errors,
        per_start=np.where(bounded[:, None], run.growth.sum(axis=0) / total, np.nan),
        finite_time=np.where(bounded[:, None, None], run.growth[whole].swapaxes(0, 1) / window, np.nan),
        window=window,
        attractor=run.groups,
        sizes=np.bincount(run.groups[bounded], minlength=attractors).astype(np.int64),
        running=running,
        running_steps=np.cumsum(run.lengths)[kept - 1].astype(np.int64),
        verdicts=tuple(verdicts),
        converged=converged,
        outcome=run.outcome,
        pushes=run.pushes,
        checks=tuple(checks),
    )


def _averaged(growth: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Growth (blocks, starts, directions) with the mean of each plane for all of its directions."""
    growth = growth.copy()
    for plane in np.unique(planes):
        same = planes == plane
        growth[..., same] = growth[..., same].mean(axis=2, keepdims=True)
    return growth
