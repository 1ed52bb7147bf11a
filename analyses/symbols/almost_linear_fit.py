"""Which piecewise-linear recurrence, of how few rectified units, goes on as a recording does? Many runs trained as one batch.

Method: z' = A z + W phi(z) + h, phi = ReLU on the last P of ``latent`` units, readout the first N of them (almost-linear RNN:
Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024), or a hidden layer z' = A z + W relu(V z + g) + h, clipped: less
relu(V z) (shallow PLRNN: Hess, Monfared, Brenner, Durstewitz, ICML 2023). Sparse or generalised teacher forcing, RAdam, a
learning rate falling exponentially. Every so often each model runs freely, and its checkpoint of smallest Dstsp is kept.

Takes a recording (steps, N), (runs, steps, N) or a Trajectory. All runs, whatever their P, are trained as one batch with a
gradient derived by hand. Costs about 3 ms an update for one model and 17 ms for forty, at 20 units, 16 sequences of 200 steps,
in float32 on one core. Time can't be split at the forcings, as units beyond the readout carry on through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Outcome, Result, axes_or_new
from analyses.symbols._orbit_divergence import divergence_from
from analyses.symbols._teacher_forcing import Room
from analyses.symbols._training import (
    Form,
    Layout,
    Recording,
    TeacherForcing,
    Training,
    batch_gradient,
    begun,
    saved,
    trained,
)
from hooks.errors import InputError
from hooks.families import PiecewiseLinear, ShallowPiecewiseLinear
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIFFERENCE = 1e-6  # step of the gradient's check in float64: error 1e-12 by curvature, 1e-10 by rounding


@dataclass(frozen=True, eq=False)
class AlmostLinearFit(Result):
    """The trained models at their best checkpoints; a run is one model, in the order of ``relu``.

    Attributes
    ----------
    form
        "almost linear", "shallow" or "clipped shallow".
    relu : (runs,)
        P of each.
    A : (runs, latent)
    W : (runs, latent, units)
        Units are the latent ones, or the hidden ones.
    h : (runs, latent)
    L : (runs, latent - outputs, outputs)
        The state that goes with an observation x is [x; L x].
    V : (runs, hidden, latent)
    g : (runs, hidden)
        Of the hidden layer; hidden is 0 for the almost-linear form.
    shift, scale : (outputs,)
        The readout is (data - shift) / scale; 0 and 1 unless standardised.
    saves : (saves,)
        After how many updates the models were judged.
    losses : (saves, runs)
        Mean squared error of the readout under teacher forcing, with the regulariser if there is one; mean since the save
        before.
    divergences : (saves, runs)
        Dstsp of the free-running orbit, nats; infinite for one that is not finite.
    reference
        Dstsp of a stretch of the recording itself, of the orbits' length: what a perfect model could reach.
    outcomes
        CONVERGED when the schedule was run to its end (no minimum is claimed), OUT_OF_TIME when it was stopped, DIVERGED when
        no save had a finite orbit: the weights are then those of the start.
    checks
        The hand-derived gradient against differences of the loss, for one run.
    """

    form: str
    relu: Int[np.ndarray, " runs"]
    A: Float[np.ndarray, "runs latent"]
    W: Float[np.ndarray, "runs latent units"]
    h: Float[np.ndarray, "runs latent"]
    L: Float[np.ndarray, "runs beyond outputs"]
    V: Float[np.ndarray, "runs hidden latent"]
    g: Float[np.ndarray, "runs hidden"]
    shift: Float[np.ndarray, " outputs"]
    scale: Float[np.ndarray, " outputs"]
    saves: Int[np.ndarray, " saves"]
    losses: Float[np.ndarray, "saves runs"]
    divergences: Float[np.ndarray, "saves runs"]
    reference: float
    outcomes: tuple[Outcome, ...]
    checks: tuple[Check, ...]

    @property
    def smallest(self) -> np.ndarray:
        """(runs,): Dstsp at the checkpoint that was kept.

        The least of many values that scatter, against the data of the training: judge the model anew before citing one.
        """
        return self.divergences.min(axis=0)

    @property
    def best(self) -> int:
        """The run of smallest divergence."""
        return int(self.smallest.argmin())

    @property
    def quartiles(self) -> np.ndarray:
        """(numbers, 4): each P, ascending, and the quartiles of ``smallest`` over its runs, each the value of a run."""
        numbers = np.unique(self.relu)
        rows = [np.quantile(self.smallest[self.relu == P], (0.25, 0.5, 0.75), method="inverted_cdf") for P in numbers]
        return np.column_stack([numbers, rows])

    @property
    def recommended(self) -> int:
        """The smallest P whose median is at most the upper quartile of the P with the smallest median; -1 if all diverged."""
        numbers, _, medians, upper = self.quartiles.T
        lowest = medians.argmin()
        return int(numbers[medians <= upper[lowest]][0]) if np.isfinite(medians[lowest]) else -1

    def model(self, run: int) -> PiecewiseLinear:
        """The network of a run, reading out its first ``outputs`` units.

        One with a hidden layer becomes an almost-linear RNN of state [z, V z + g] (clipped: [z, V z + g, V z]) with the same
        orbits, and the same eigenvalues but for zeros.
        """
        A, W, h, V, g = (torch.from_numpy(w[run].copy()) for w in (self.A, self.W, self.h, self.V, self.g))
        outputs = len(self.shift)
        if self.form == "almost linear":
            return PiecewiseLinear(A, W, h, int(self.relu[run]), outputs)
        shallow = ShallowPiecewiseLinear(A, W, V, h, g, clipped=self.form == "clipped shallow")
        return replace(shallow.lifted(), outputs=outputs)

    def start(self, run: int, observed: Float[np.ndarray, "batch outputs"]) -> Float[np.ndarray, "batch dim"]:
        """States of ``model(run)`` that go with observations, given in the recording's units."""
        x = (observed - self.shift) / self.scale
        z = np.concatenate([x, x @ self.L[run].T], axis=1)
        hidden = [z @ self.V[run].T + self.g[run], z @ self.V[run].T]
        return np.concatenate([z, *hidden[: ("almost linear", "shallow", "clipped shallow").index(self.form)]], axis=1)

    def summary(self) -> str:
        """How many runs gave bounded orbits, the divergence by P, and the P suggested."""
        bounded = sum(outcome is not Outcome.DIVERGED for outcome in self.outcomes)
        text = f"{bounded} of {len(self.relu)} runs gave a finite orbit"
        if stopped := sum(outcome is Outcome.OUT_OF_TIME for outcome in self.outcomes):
            text += f", {stopped} of them stopped after {self.saves[-1]} updates"
        medians = ", ".join(
            f"{middle:.3g} ({low:.3g} to {high:.3g}) for P = {P:.0f}" for P, low, middle, high in self.quartiles
        )
        text += f"; median divergence {medians}; a stretch of the recording itself has {self.reference:.3g}"
        if len(self.quartiles) > 1 and self.recommended >= 0:
            text += (
                f"; P = {self.recommended} is the smallest whose median lies within the upper quartile of the best P"
            )
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The divergence kept by every run against P, with the quartiles."""
        ax = axes_or_new(ax)
        finite = np.isfinite(self.smallest)
        ax.plot(self.relu[finite], self.smallest[finite], ".", color="C0", alpha=0.5, label="one run")
        rows = self.quartiles[np.isfinite(self.quartiles).all(axis=1)]
        if len(rows):
            numbers, low, middle, high = rows.T
            ax.errorbar(numbers, middle, [middle - low, high - middle], fmt="o", color="C1", label="median, quartiles")
        ax.axhline(self.reference, color="0.6", linestyle=":", label="the recording itself")
        ax.set(xlabel="rectified units P", ylabel="state space divergence (nats)", xticks=np.unique(self.relu))
        ax.legend(fontsize=7)
        return ax


def fit_almost_linear(
    trajectory: Any,
    latent: int,
    relu: int | Sequence[int],
    *,
    runs: int = 10,
    form: Form = "almost linear",
    recipe: TeacherForcing | None = None,
    standardise: bool = False,
    select_every: int = 1250,
    orbit: int = 10_000,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
    resume: Training | None = None,
    watch: Watch = quiet,
) -> AlmostLinearFit:
    """Train piecewise-linear recurrences on a recording and keep each run's best checkpoint.

    Parameters
    ----------
    trajectory : Trajectory, (steps, outputs) or (runs, steps, outputs)
        Finite throughout; sequences never cross from one run to another.
    latent
        Units, at least the outputs. The authors take 20 for Lorenz.
    relu
        P, rectified units; several numbers for a sweep. With a hidden layer, its size.
    runs
        Models for each P: different starts, batches and noise, drawn from the one generator.
    recipe
        The authors' for Lorenz when left out: ``TeacherForcing()``.
    standardise
        Give the recording mean 0 and standard deviation 1 in every coordinate first; noise is then in these units. The authors
        do not, as their data come so. A constant coordinate is only shifted.
    select_every
        Updates between two saves; theirs is 25 epochs of 50.
    orbit
        Steps of the free run that is judged, from the first recorded state, after a tenth as many of burn-in.
    dtype
        Of the training.
    generator
        A fixed seed when left out.
    resume
        A state that passed the watch of the same call: the fit goes on from it bit for bit.
    watch
        Wraps the updates: progress, budget, saving. Stopped early, the result is what there was, judged once more.

    Raises
    ------
    InputError
        For a recording of a wrong shape, not finite, or shorter than a sequence; options out of range; a state to resume from
        that is of another fit.
    """
    recipe = recipe or TeacherForcing()
    recorded = trajectory if isinstance(trajectory, Trajectory) else _recorded(trajectory)
    numbers = (relu,) if isinstance(relu, int) else tuple(int(P) for P in relu)
    _refuse(recorded, latent, numbers, runs, form, recipe, min(select_every, orbit))

    points = recorded.points()
    shift, scale = _scaling(points) if standardise else (np.zeros(points.shape[1]), np.ones(points.shape[1]))
    points = (points - shift) / scale
    layout = Layout(form, points.shape[1], latent, tuple(np.repeat(numbers, runs).tolist()), dtype)
    recording = Recording(
        data=torch.from_numpy(points.T.copy()).to(dtype),
        begins=torch.from_numpy(_begins(recorded, recipe.length)),
        divergence=divergence_from(points),
        orbit=orbit,
        burn_in=orbit // 10,
    )
    saves = -(-recipe.steps // select_every)
    begin = begun(layout, recipe, saves, generator or torch.Generator().manual_seed(0))
    if resume is not None:
        if resume.parameters.shape != begin.parameters.shape or len(resume.divergences) != saves:
            raise InputError(
                f"the state to resume from has {tuple(resume.parameters.shape)} parameters and {len(resume.divergences)} "
                f"saves, but this fit has {tuple(begin.parameters.shape)} and {saves}"
            )
        begin = resume

    state = begin
    for state in watch(trained(begin, layout, recipe, recording, select_every), recipe.steps - begin.step):
        pass
    stopped = state.step < recipe.steps
    if state.step == 0 or (stopped and state.step % select_every):
        state = saved(state, layout, recording, select_every)

    done = max(-(-state.step // select_every), 1)
    divergences = state.divergences[:done].numpy()
    usual = Outcome.OUT_OF_TIME if stopped else Outcome.CONVERGED
    parts = {name: part.double().numpy().copy() for name, part in layout.parts(state.best).items()}
    none = np.zeros((len(layout.relu), 0, latent))
    stretch = points[-min(orbit, -(-len(points) // 2)) :]
    return AlmostLinearFit(
        form=form,
        relu=np.array(layout.relu, dtype=np.int64),
        **{"V": none, "g": none[:, :, 0], **parts},
        shift=shift,
        scale=scale,
        saves=np.minimum(np.arange(1, done + 1) * select_every, state.step),
        losses=state.losses[:done].numpy(),
        divergences=divergences,
        reference=float(recording.divergence(stretch[None])[0]),
        outcomes=tuple(usual if np.isfinite(column).any() else Outcome.DIVERGED for column in divergences.T),
        checks=_gradient_check(state, layout, recipe, recording, int(divergences.min(axis=0).argmin())),
    )


def _recorded(data: Any) -> Trajectory:
    array = np.asarray(data.detach().cpu() if isinstance(data, Tensor) else data, dtype=np.float64)
    if array.ndim not in (2, 3):
        raise InputError(f"a recording is (steps, outputs) or (runs, steps, outputs), but {array.shape} came")
    return Trajectory(array[None] if array.ndim == 2 else array)


def _scaling(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every coordinate; 1 in place of that of a constant."""
    spread = points.std(axis=0)
    return points.mean(axis=0), np.where(spread > 1e-12 * np.abs(points).max(axis=0), spread, 1.0)


def _begins(recorded: Trajectory, length: int) -> np.ndarray:
    """Where a sequence of length + 1 points may begin among all points, run after run."""
    assert recorded.lengths is not None
    ends = np.cumsum(recorded.lengths)
    return np.concatenate([np.arange(end - own, end - length) for end, own in zip(ends, recorded.lengths, strict=True)])


def _refuse(
    recorded: Trajectory,
    latent: int,
    numbers: tuple[int, ...],
    runs: int,
    form: Form,
    recipe: TeacherForcing,
    least: int,
) -> None:
    outputs = recorded.states.shape[2]
    if form not in get_args(Form):
        raise InputError(f"the form is one of {', '.join(get_args(Form))}, not {form!r}")
    if not 1 <= outputs <= latent:
        raise InputError(f"{latent} latent units can't read out {outputs} coordinates: take as many or more")
    hidden = form != "almost linear"
    if not numbers or min(numbers) < 0 or (not hidden and max(numbers) > latent):
        raise InputError(f"relu gives numbers of rectified units from 0 to latent={latent}, but {numbers} came")
    if hidden and (len(set(numbers)) > 1 or numbers[0] < 1):
        raise InputError(f"models with a hidden layer share its size, at least 1, but relu={numbers} came")
    if min(runs, least, recipe.steps, recipe.every, recipe.length, recipe.batch) < 1:
        raise InputError("runs, select_every, orbit, steps, every, length and batch are at least 1")
    if min(*recipe.learning_rates, 1.0) <= 0 or min(recipe.noise, recipe.regularisation) < 0:
        raise InputError(f"learning rates are positive, noise and regularisation not negative, but {recipe} came")
    if recipe.alpha != "annealed" and not 0 <= recipe.alpha <= 1:
        raise InputError(f"alpha is a share from 0 to 1 or 'annealed', but {recipe.alpha!r} came")
    if hidden and recipe.regularisation:
        raise InputError("the regulariser acts on A + diag W, which only the almost-linear form has")
    assert recorded.lengths is not None
    longest = int(recorded.lengths.max(initial=0))
    if longest <= recipe.length:
        raise InputError(
            f"sequences of length={recipe.length} need a run of {recipe.length + 1} steps, but the longest has {longest}"
        )


def _gradient_check(
    state: Training, layout: Layout, recipe: TeacherForcing, recording: Recording, run: int
) -> tuple[Check, ...]:
    """|gradient| against the loss's differences along it, in float64, over a sequence short enough for a difference."""
    short = replace(recipe, length=min(recipe.length, recipe.every + 4))
    one = replace(layout, relu=layout.relu[run : run + 1], dtype=torch.float64)
    rows = state.best[run : run + 1].double()
    exact = replace(recording, data=recording.data.double())
    room = Room.of(one.weights(rows), one.outputs, short.length, short.batch)

    def loss(at: Tensor) -> tuple[Tensor, Tensor]:
        here = replace(state, parameters=at, alpha=state.alpha[run : run + 1].double(), step=1)
        return batch_gradient(here, one, short, exact, torch.Generator().manual_seed(0), room)[:2]

    gradient = loss(rows)[1]
    size = float(gradient.norm())
    if not 0 < size < float("inf"):
        return ()
    aside = gradient * (DIFFERENCE / size)
    slope = float(loss(rows + aside)[0] - loss(rows - aside)[0]) / (2 * DIFFERENCE)
    return (Check("slope of the loss along its gradient, over its norm", 1.0, slope / size, 1e-3),)
