"""How does the residual stream move through depth, and does it move otherwise than a random walk and an untrained network?

Statistics, each one number, a mean over a text's runs and then over texts (unit of replication: the text):

- continuity: Pearson correlation over runs of each unit at successive sites, and cosine of successive states. Increments that
  are independent give sqrt(l / (l + 1)) at site l, 0.98 by l = 31, so a high value alone says nothing;
- growth over depth: slopes by least squares of the logarithm of norm, velocity |h_{l+1} - h_l|, participation ratio
  (sum of variances)^2 / sum of their squares over runs, and spread of the token cloud (see ``spreads``: a falling one is the
  collapse of Dong, Cordonnier, Loukas, arXiv 2103.03404); of the density (mean |h|)^2 / mean h^2 over units (Treves and Rolls)
  itself;
- bend: cosine of successive increments, 0 for a walk, 1 for a straight path;
- mutual information of each unit at successive sites, nats, from equally filled bins with five runs a cell on average, less
  the bias of Miller and Madow; of at most 64 units, evenly spaced.

Nulls walk from the first site with one draw a text, shared by its runs; twins are networks of the same shape with random
weights, or with the network's own in random places: weights that grew in training change much by their size alone. Where a
surrogate keeps a statistic by construction it is left out. Source of the questions: Fernando and Guitchounts, Transformer
Dynamics, arXiv 2502.12131, whose own nulls are permutations of the layers.

Takes a Trajectory of clock "layer"; costs (3 draws + groups) x runs x sites x dim, and a sort of it for the information.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.surrogates import increments_flipped, increments_shuffled, increments_turned
from analyses.trajectories._depth import SCRAMBLED, TWIN, depth_runs, refuse_other_shapes, twin_null
from analyses.trajectories._stream_profiles import STATISTICS, dot, profiles_of, statistics_of
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURROGATES = {
    "turned increments": (increments_turned, "increments have their lengths and independent directions"),
    "shuffled increments": (increments_shuffled, "the order of the increments does not matter"),
    "flipped increments": (increments_flipped, "the signs of the increments do not matter"),
}
KEPT = {("growth of the velocity", "turned increments"), ("growth of the velocity", "flipped increments")}


@dataclass(frozen=True, eq=False)
class ResidualStream(Result):
    """The stream's motion through depth, profiles and statistics.

    Attributes
    ----------
    statistics, observed, standard_errors : (statistics,)
        Names, values (NaN where they do not exist) and errors by leaving out texts; growth is per site.
    correlations, cosines, velocities, relative_velocities, mutual_information : (sites - 1,)
        Between successive sites; relative velocity is |h_{l+1} - h_l| / |h_l|.
    accelerations, bends : (sites - 2,)
        |second difference|, and the cosine of successive increments.
    norms, densities, participation_ratios, spreads : (sites,)
        At each site. Spread: 1 - |mean state|^2 / mean |state|^2, over the runs of each text, or over all runs where a text has
        only one.
    texts, runs
        How many.
    outcome
        OUT_OF_TIME where a budget ended the draws; the nulls hold those that were made.
    nulls
        Of each statistic: surrogates, then twins.
    checks
        Velocities, accelerations and bends obey |a|^2 = |v'|^2 + |v|^2 - 2 v'.v at the median run.
    """

    statistics: tuple[str, ...]
    observed: Float[np.ndarray, " statistics"]
    standard_errors: Float[np.ndarray, " statistics"]
    correlations: Float[np.ndarray, " steps"]
    cosines: Float[np.ndarray, " steps"]
    velocities: Float[np.ndarray, " steps"]
    relative_velocities: Float[np.ndarray, " steps"]
    mutual_information: Float[np.ndarray, " steps"]
    accelerations: Float[np.ndarray, " turns"]
    bends: Float[np.ndarray, " turns"]
    norms: Float[np.ndarray, " sites"]
    densities: Float[np.ndarray, " sites"]
    participation_ratios: Float[np.ndarray, " sites"]
    spreads: Float[np.ndarray, " sites"]
    texts: int
    runs: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def beating(self) -> tuple[str, ...]:
        """Statistics that beat every null drawn for them, each at 0.05; not corrected for how many there are."""
        tried = {null.statistic for null in self.nulls}
        lost = {null.statistic for null in self.nulls if not null.beaten}
        return tuple(name for name in self.statistics if name in tried - lost)

    def summary(self) -> str:
        """How many statistics beat their nulls, then each with them."""
        text = (
            f"{len(self.beating)} of {counted(len(self.statistics), 'statistic')} of {counted(self.texts, 'text')} beat"
        )
        text += " every null" if self.nulls else " a null: none was drawn"
        if self.nulls and not any(null.name == TWIN for null in self.nulls):
            text += " (walks alone: without random-weight twins nothing says that training did it)"
        for name, value, error in zip(self.statistics, self.observed, self.standard_errors, strict=True):
            beside = [
                f"{null.name} {np.median(null.draws):.3g}{'' if null.beaten else ' not beaten'}"
                for null in self.nulls
                if null.statistic == name
            ]
            number = f"{value:.3g} ± {error:.1g}" if np.isfinite(value) else "has too few runs"
            text += f"; {name} {number}" + (f" ({', '.join(beside)})" if beside else "")
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Norm and velocity over depth, on a logarithmic axis."""
        ax = axes_or_new(ax)
        ax.plot(self.norms, marker="o", color="k", label="norm")
        ax.plot(np.arange(len(self.velocities)) + 0.5, self.velocities, marker="s", color="tab:blue", label="velocity")
        if (self.norms > 0).all() and (self.velocities > 0).all():
            ax.set_yscale("log")
        ax.set(xlabel="site", ylabel="length")
        ax.legend(frameon=False)
        return ax


@dataclass(frozen=True)
class _Drawn:
    """Statistics of the surrogates so far, NaN for those still to be drawn, and how many were."""

    values: np.ndarray
    done: int


def residual_stream(
    trajectory: Trajectory,
    *,
    twins: Sequence[ResidualStream] = (),
    scrambled: Sequence[ResidualStream] = (),
    draws: int = 99,
    groups: int = 20,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> ResidualStream:
    """Continuity, growth, bend and information of a stream over depth, each beside its nulls.

    Parameters
    ----------
    trajectory
        Clock "layer", runs of equal length, one a text and position; the label "text" says which runs belong to one text. Each
        run is one without it.
    twins, scrambled
        What this function gave for networks of the same shape on the same texts: with random weights, and with the network's
        own weights in random places; draws=0, groups=0 serve there. Their p is (1 + k) / (1 + twins): 19 are needed for 0.05.
    draws
        Surrogates of each kind.
    groups
        Of texts, left out in turn for the standard errors; fewer than two take none.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    InputError
        When the clock is another, runs are ragged, there are fewer than three sites, or a twin has another shape.
    """
    states, texts = depth_runs(trajectory, "residual_stream")
    refuse_other_shapes(
        [(len(twin.norms), states.shape[2]) for twin in (*twins, *scrambled)], states, "residual_stream"
    )
    generator = generator or torch.Generator().manual_seed(0)

    profiles = profiles_of(states, texts)
    observed = statistics_of(profiles)
    left_out = [
        statistics_of(profiles_of(states[kept], texts[kept]))
        for kept in _parts(texts, groups)
        if len(np.unique(texts[kept])) > 1
    ]
    drawn = _Drawn(np.full((len(SURROGATES), draws, len(STATISTICS)), np.nan), 0)
    for drawn in watch(_surrogates(states, texts, draws, generator), len(SURROGATES) * draws):
        pass

    nulls = []
    for column, statistic in enumerate(STATISTICS):
        for row, (name, (_, hypothesis)) in enumerate(SURROGATES.items()):
            kept = drawn.values[row, :, column]
            kept = kept[np.isfinite(kept)]
            if len(kept) and np.isfinite(observed[column]) and (statistic, name) not in KEPT:
                nulls.append(Null(name, hypothesis, "text", kept, float(observed[column]), statistic))
        for name, others in ((TWIN, twins), (SCRAMBLED, scrambled)):
            values = [float(twin.observed[column]) for twin in others]
            nulls += twin_null(statistic, float(observed[column]), values, name)
    return ResidualStream(
        STATISTICS, observed, _jackknife(left_out), **profiles, texts=int(texts.max()) + 1, runs=len(states),
        outcome=Outcome.CONVERGED if drawn.done == len(SURROGATES) * draws else Outcome.OUT_OF_TIME, nulls=tuple(nulls),
        checks=(_triangle(states),),
    )  # fmt: skip


def _surrogates(states: np.ndarray, texts: np.ndarray, draws: int, generator: torch.Generator) -> Iterator[_Drawn]:
    values = np.full((len(SURROGATES), draws, len(STATISTICS)), np.nan)
    for row, (surrogate, _) in enumerate(SURROGATES.values()):
        for draw in range(draws):
            walked = surrogate(states, together=texts, generator=generator)
            values = values.copy()
            values[row, draw] = statistics_of(profiles_of(walked, texts))
            yield _Drawn(values, row * draws + draw + 1)


def _parts(texts: np.ndarray, groups: int) -> list[np.ndarray]:
    """Runs that are kept when each group of texts is left out."""
    groups = min(groups, int(texts.max()) + 1)
    return [texts % groups != group for group in range(groups)] if groups > 1 else []


def _jackknife(left_out: list[np.ndarray]) -> np.ndarray:
    groups = len(left_out)
    if not groups:
        return np.full(len(STATISTICS), np.nan)
    return np.sqrt((groups - 1) * np.var(left_out, axis=0))


def _triangle(states: np.ndarray) -> Check:
    """|a|^2 = |v'|^2 + |v|^2 - 2 v'.v over all runs, relative to the squares."""
    steps = np.diff(states, axis=1)
    squares = (steps**2).sum(axis=2)
    parts = squares[:, 1:] + squares[:, :-1] - 2 * dot(steps[:, :-1], steps[:, 1:])
    scale = max(float((squares[:, 1:] + squares[:, :-1]).sum()), 1e-300)
    left = float(np.abs((np.diff(steps, axis=1) ** 2).sum(axis=2) - parts).sum()) / scale
    return Check("second differences less what velocities and bends give", 0.0, left, 1e-9)
