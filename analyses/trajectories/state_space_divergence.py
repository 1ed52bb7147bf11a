"""Does a generated trajectory fill the same part of state space as the true one? The divergence D_stsp, and what it is worth.

D_stsp is the Kullback-Leibler divergence KL(p_true || p_generated) of the two densities of visited states, in nats, blind to
time. Published implementations differ; here it is one of two stated forms.

``Bins``: a histogram of ``per_axis`` bins on each axis between the smallest and the largest value of the true recording, every
bin kept, and one further cell for all states outside, so that a generated orbit that leaves pays for it; ``smoothing`` is
added to every cell's count. (The Julia code of Durstewitz's laboratory widens the range by 0.1 standard deviations; the Python
code drops the states outside and the lowest bin of every axis. Neither has a cell for the outside.) ``Mixture``: a Gaussian of
this ``variance`` (not standard deviation) at each of at most ``points`` evenly spaced states, log densities compared at
``draws`` states drawn from the true mixture, by log-sum-exp, so that no draw is dropped for a density that underflows.

Both forms have a positive bias that depends on the number of states: two recordings of one system do not give 0. So the value
stands beside the divergence between the halves of the true recording, and, where independent recordings of the true system
are given, beside theirs.

Source: Koppe et al., PLoS Comput. Biol. 15(8), 2019 (bins); Hess et al., ICML 2023 (mixture). Takes two Trajectories; costs one
sort of the states, or draws x points distances, for each comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from analyses._densities import Bins, Mixture, by_bins, by_mixture, cells_of
from analyses.result import Check, Null, Result, axes_or_new
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTWEIGHED = 0.1  # of the states: more smoothing than this, in all cells together, and the histograms compare smoothing
MOST = 2.0**62  # cells: they are numbered
MEASURED = 64  # bins of the drawing


@dataclass(frozen=True, eq=False)
class StateSpaceDivergence(Result):
    """KL(true || generated) in nats, and the same for recordings of the true system.

    Attributes
    ----------
    divergence
        Of the whole recordings.
    standard_error
        Of the Monte-Carlo mean, for the mixture form; 0 for bins, which draw nothing.
    halves
        KL(first half || second half) of the true recording, every run cut in the middle: what sampling alone gives, at half
        the length, so rather too much.
    outside
        Share of generated states outside the box of the true recording.
    form
        The form with its settings.
    states
        How many states were compared: true, generated.
    histograms : (2, dim, bins)
        Shares of true and generated states along each axis, over the range of both; for the drawing.
    edges : (dim, bins + 1)
    nulls
        "independent recordings": KL(true || other) for each that was given; none when none was.
    checks
        KL(true || true) is 0.
    """

    divergence: float
    standard_error: float
    halves: float
    outside: float
    form: str
    states: tuple[int, int]
    histograms: Float[np.ndarray, "2 dim bins"]
    edges: Float[np.ndarray, "dim edges"]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The divergence beside that of the true system from itself."""
        doubt = f" ± {self.standard_error:.1g}" if self.standard_error else ""
        text = (
            f"{self.states[1]} generated states lie {self.divergence:.3g}{doubt} nats from {self.states[0]} true ones "
        )
        text += f"({self.form}), whose halves lie {self.halves:.3g} from each other"
        for null in self.nulls:
            low, high = null.draws.min(), null.draws.max()
            text += f"; {len(null.draws)} independent recordings lie {low:.3g} to {high:.3g} from the true one"
            if not null.beaten:
                text += ", so it is not shown to differ from them" if len(null.draws) >= 19 else ", too few to tell by"
        if self.outside:
            text += f"; {100 * self.outside:.1f} % of the generated states are outside the true range"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares of states along each axis, true (filled) and generated (line)."""
        ax = axes_or_new(ax)
        for axis, edges in enumerate(self.edges[:4]):
            true, generated = self.histograms[:, axis]
            colour = f"C{axis}"
            ax.stairs(true, edges, fill=True, alpha=0.25, color=colour)
            ax.stairs(generated, edges, color=colour, label=f"coordinate {axis + 1}, generated")
        ax.set(xlabel="coordinate (filled: true)", ylabel="share of states")
        ax.legend(frameon=False, fontsize="small")
        return ax


def state_space_divergence(
    true: Trajectory,
    generated: Trajectory,
    *,
    form: Bins | Mixture | None = None,
    others: Trajectory | None = None,
    generator: torch.Generator | None = None,
) -> StateSpaceDivergence:
    """D_stsp of a generated trajectory from the true one.

    Parameters
    ----------
    true, generated
        Past their transients, in the same coordinates; all runs of each are taken together. A run that was cut because it
        overflowed counts with the states that it has.
    form
        ``Bins()`` when left out. Bins suit few coordinates: 30 ** 3 cells are fine, 8 ** 20 are not.
    others
        Independent recordings of the true system, one a run, each with as many states as ``generated``: 19 for a level of 5 %.
    generator
        Of the mixture form; a fixed seed when left out.

    Raises
    ------
    InputError
        For recordings of different widths, a single true state, others of another length, options out of range, or bins so many
        that their smoothing outweighs the states.
    """
    form = form or Bins()
    real, made = true.points(), generated.points()
    if real.shape[1] != made.shape[1] or (others is not None and others.states.shape[2] != real.shape[1]):
        raise InputError(f"recordings of {real.shape[1]} and {made.shape[1]} coordinates cannot be compared")
    if others is not None and not (others.valid.sum(axis=1) == len(made)).all():
        raise InputError(
            f"the divergence depends on the number of states, so each other recording needs {len(made)}, "
            f"as the generated one has"
        )
    halves = _halves(true)
    if not len(halves[0]):
        raise InputError("the true recording needs two states at least")
    if isinstance(form, Bins):
        cells = cells_of(form, real)
        if cells > MOST or cells * form.smoothing > OUTWEIGHED * min(len(real), len(made)):
            raise InputError(
                f"{cells:.3g} cells with {form.smoothing:g} added to each outweigh {min(len(real), len(made))} states: take "
                f"fewer bins, more states, or Mixture()"
            )
    elif not (form.variance > 0 and form.points > 0 and form.draws > 1):
        raise InputError(f"variance and points are positive and draws above 1, but {form} came")

    generator = generator or torch.Generator().manual_seed(0)
    seed = int(torch.randint(1 << 62, (1,), generator=generator))

    def divergence(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
        """With the same random numbers for every pair."""
        return by_bins(form, one, other) if isinstance(form, Bins) else by_mixture(form, one, other, seed)

    value, error = divergence(real, made)
    nulls: tuple[Null, ...] = ()
    if others is not None:
        draws = np.array(
            [divergence(real, run[kept])[0] for run, kept in zip(others.states, others.valid, strict=True)]
        )
        hypothesis = "the generated states are another recording of the true system"
        nulls = (Null("independent recordings", hypothesis, "recording", draws, value),)
    low, high = real.min(axis=0), real.max(axis=0)
    edges = np.linspace(np.minimum(low, made.min(axis=0)), np.maximum(high, made.max(axis=0)), MEASURED + 1, axis=1)
    histograms = np.stack(
        [[_shares(column, edge) for column, edge in zip(states.T, edges, strict=True)] for states in (real, made)]
    )
    return StateSpaceDivergence(
        divergence=value,
        standard_error=error,
        halves=divergence(*halves)[0],
        outside=float(((made < low) | (made > high)).any(axis=1).mean()),
        form=f"{form.per_axis} bins an axis" if isinstance(form, Bins) else f"Gaussians of variance {form.variance:g}",
        states=(len(real), len(made)),
        histograms=histograms,
        edges=edges,
        nulls=nulls,
        checks=(Check("divergence of the true recording from itself", 0.0, divergence(real, real)[0], 1e-12),),
    )  # fmt: skip


def _halves(true: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    assert true.lengths is not None
    first = np.arange(true.states.shape[1]) < (true.lengths // 2)[:, None]
    return true.states[first], true.states[true.valid & ~first]


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values, edges)[0] / len(values) if edges[-1] > edges[0] else np.full(MEASURED, 1.0 / MEASURED)
