"""How many delays of one coordinate does it take to read a state that is hidden?

Takens (1981) and Sauer, Yorke and Casdagli (J. Stat. Phys. 65, 579, 1991): more than twice as many delayed values as the
attractor has dimensions do, in general, and fewer may. Here the states are known, so it can be asked directly: the mean over
the nearest neighbours among delayed values tells the hidden state, or it does not (``neighbour_readout``). Beside that stand
the count by Cao's E1 (Physica D 110, 43, 1997), which sees the recording alone, the forecast from neighbours, and the
recurrences of the delayed values beside those of the states.

The Henon map and two flows are known in closed form; the fourth state is that of a trained GRU of 32 units in closed loop, of
which one number is seen: the x of Lorenz that it says. Controls are a coordinate that a symmetry keeps from knowing the state
(the z of Lorenz, alike on both wings), noise, and delays so short or so long that a little noise in the recording hides the
state.

Two claims of the author's own differ. Delays of one step tell less of the noisy state than delays of eight, and leave twelve
times as much of it unread, but of the whole that is a thirtieth, not a tenth. Of lines of recurrence of a fifth of a unit of
time or more the mean length is another for three delays of Lorenz's x than for the states; of half a unit or more it is the
same within 5 %: what differs is how many short lines there are, where orbits cross a neighbourhood quickly, and that depends on
the neighbourhood's shape. Three delays of noise have a determinism of 0.57, six times that of noise, and the null of random
phases, embedded alike, has it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from analyses.result import Null, Result
from analyses.series.delay_embedding import delay_embedded, delay_embedding
from analyses.trajectories.neighbour_readout import NeighbourReadout, neighbour_readout
from analyses.trajectories.recurrence import recurrence
from case_studies._forecasters import WARM, looped, scaled, shipped
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

DT = 0.02  # of Lorenz63 and the GRU; Rossler turns an eighth as fast and is stepped by 0.1
READ = 0.95  # of the variance of the hidden state
NOISE = 0.03  # of the recording's deviation
MOST = 6  # delays from which states are read


@dataclass(frozen=True, eq=False)
class Recorded:
    """States (1, steps, dim), what is seen of them (1, steps), how far ahead to ask, and the shortest line of recurrence."""

    states: np.ndarray
    seen: np.ndarray
    ahead: int
    shortest: int


@dataclass(frozen=True, eq=False)
class Specimen:
    """The recordings by name."""

    recordings: Mapping[str, Recorded]
    recurring: int
    draws: int


def prepare(*, steps: int, recurring: int, draws: int, flows: bool) -> Specimen:
    """``steps`` of each recording, of which ``recurring`` are searched for recurrences, beside ``draws`` surrogates; with the
    flows, which need some thousands of steps to be read, or without."""
    henon, lorenz, rossler = (_orbit(name, steps, **settings) for name, settings in (
        ("Henon", {}), ("Lorenz63", {"dt": DT}), ("Rossler", {"dt": 0.1}),
    ))  # fmt: skip
    forecaster = looped(shipped("GRU"))
    warm = scaled(_orbit("Lorenz63", WARM, dt=DT))
    units = rollout(forecaster.loop, forecaster.begin(warm), steps=steps - 1, burn_in=1000).states
    assert forecaster.loop.readout is not None
    said = forecaster.loop.readout(torch.tensor(units[0])).numpy()[None]
    noise = np.random.default_rng(0).standard_normal((1, steps, 1))
    recordings = {
        "Henon's x": Recorded(henon, henon[..., 0], ahead=3, shortest=2),
        "Lorenz's x": Recorded(lorenz, lorenz[..., 0], ahead=25, shortest=10),
        "Lorenz's z": Recorded(lorenz, lorenz[..., 2], ahead=25, shortest=10),
        "Rossler's x": Recorded(rossler, rossler[..., 0], ahead=20, shortest=10),
        "the GRU's x": Recorded(units, said[..., 0], ahead=25, shortest=10),
        "noise": Recorded(noise[:, 1:], noise[:, :-1, 0], ahead=1, shortest=2),  # the state is the next value
    }
    asked = {name: recorded for name, recorded in recordings.items() if flows or name in ("Henon's x", "noise")}
    return Specimen(asked, recurring, draws)


def _orbit(name: str, steps: int, **settings: float) -> np.ndarray:
    dynamics = SYSTEMS[name].make(**settings)
    start = [list(SYSTEMS[name].start(dynamics.dim))]
    return rollout(dynamics, start, steps=steps - 1, burn_in=2000).states


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Cao's count, states read from 1 to 6 delays, forecasts and recurrences of each recording; then the wrong delays."""
    sentences = []
    for name, recorded in specimen.recordings.items():
        cao = journal.note(f"{name}: Cao", delay_embedding, recorded.seen, references=2000, draws=specimen.draws)
        hidden = recorded.states[:, (MOST - 1) * cao.delay :]
        ahead = (0, recorded.ahead)
        told = [
            journal.note(
                f"{name}: state from {count}", neighbour_readout, _delayed(recorded.seen, count, cao.delay), hidden,
                ahead=ahead, draws=specimen.draws,
            )
            for count in range(1, MOST + 1)
        ]  # fmt: skip
        whole = journal.note(
            f"{name}: state from itself", neighbour_readout, Trajectory(hidden), hidden, ahead=ahead, draws=0
        )
        r2 = np.array([one.r2[0] for one in told])
        enough = f"from {_first(r2)} delays on" if _first(r2) else "from no number of delays tried"
        counts = f"{cao.dimension} by Cao's E1" if cao.dimension > 0 else "no number by Cao's E1"
        sentences.append(
            f"{name}: neighbours tell {READ:g} of the hidden state's variance {enough} ({_listed(r2)}), {counts}; "
            f"{recorded.ahead} steps ahead {told[2].r2[1]:.3f} from three delays, {whole.r2[1]:.3f} from the state."
        )
        if name in ("Lorenz's x", "Rossler's x", "the GRU's x", "noise"):
            sentences.append(_recurrences(journal, name, recorded, cao.delay, specimen))
    if "Lorenz's x" in specimen.recordings:
        sentences.append(_wrong_delays(journal, specimen.recordings["Lorenz's x"]))
    return tuple(sentences)


def _delayed(seen: np.ndarray, count: int, delay: int) -> Trajectory:
    """States of ``count`` delays at the times of which ``MOST`` delays are known."""
    return Trajectory(delay_embedded(seen[:, (MOST - count) * delay :], dimension=count, delay=delay))


def _recurrences(journal: Journal, name: str, recorded: Recorded, delay: int, specimen: Specimen) -> str:
    states, seen = recorded.states[:, : specimen.recurring], Trajectory(recorded.seen[:, : specimen.recurring, None])
    own = journal.note(
        f"{name}: recurrence of the states", recurrence, Trajectory(states), shortest=recorded.shortest, draws=0
    )
    one, three = (
        journal.note(
            f"{name}: recurrence of {count} delays", recurrence, seen, dimension=count, delay=delay,
            shortest=recorded.shortest, theiler=own.theiler, draws=specimen.draws if count == 3 else 0,
        )
        for count in (1, 3)
    )  # fmt: skip
    return (
        f"{name}, recurrences: determinism {own.determinism[0]:.3f} of the states, {three.determinism[0]:.3f} of three delays "
        f"(beyond {' and '.join(_beaten(three.nulls)) or 'no null'}), {one.determinism[0]:.3f} of one; diagonals of "
        f"{own.mean_diagonal[0]:.3g}, {three.mean_diagonal[0]:.3g} and {one.mean_diagonal[0]:.3g} steps."
    )


def _beaten(nulls: tuple[Null, ...]) -> list[str]:
    """Names of the nulls that determinism beats."""
    return [null.name for null in nulls if null.beaten and null.statistic == "determinism"]


def _wrong_delays(journal: Journal, recorded: Recorded) -> str:
    """Three delays of Lorenz's x with noise, a step, a good delay and 2 units of time apart."""
    seen = recorded.seen
    noisy = seen + NOISE * seen.std() * np.random.default_rng(1).standard_normal(seen.shape)
    r2 = []
    for delay in DELAYS:
        late = 2 * (max(DELAYS) - delay)  # all read the same states
        source = Trajectory(delay_embedded(noisy[:, late:], dimension=3, delay=delay))
        hidden = recorded.states[:, 2 * max(DELAYS) :]
        r2.append(journal.note(f"noisy x: delays of {delay}", neighbour_readout, source, hidden, draws=0).r2[0])
    steps = ", ".join(f"{value:.3f} at {delay}" for value, delay in zip(r2, DELAYS, strict=True))
    return f"Three delays of Lorenz's x with {NOISE:.0%} of noise tell, by the steps between them: {steps}."


DELAYS = (1, 8, 100)  # steps of 0.02: too short, good (where x has about decorrelated), 1.8 over the largest exponent


def _first(r2: np.ndarray) -> int:
    """The first number of delays from which on enough is read; 0 when none is."""
    below = np.flatnonzero(~(r2 >= READ))
    first = int(below[-1]) + 2 if len(below) else 1
    return first if first <= len(r2) else 0


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _told(name: str, read: Callable[[list[NeighbourReadout]], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the readings of this recording from 1 to 6 delays."""

    def measure(results: Mapping[str, Result]) -> float:
        found = [results[f"{name}: state from {count}"] for count in range(1, MOST + 1)]
        return float(read([one for one in found if isinstance(one, NeighbourReadout)]))

    return measure


def _count(told: list[NeighbourReadout]) -> float:
    return _first(np.array([one.r2[0] for one in told]))


def _ratio(name: str) -> Callable[[Mapping[str, Result]], float]:
    """Mean diagonal of three delays over that of the states."""
    return lambda results: float(
        results[f"{name}: recurrence of 3 delays"].mean_diagonal[0]  # type: ignore[attr-defined]
        / results[f"{name}: recurrence of the states"].mean_diagonal[0]  # type: ignore[attr-defined]
    )


def _gain(wrong: int) -> Callable[[Mapping[str, Result]], float]:
    return lambda results: float(
        results["noisy x: delays of 8"].r2[0] - results[f"noisy x: delays of {wrong}"].r2[0] > 0.1  # type: ignore[attr-defined]
    )


def _forecast(name: str) -> Callable[[Mapping[str, Result]], float]:
    """What three delays tell of the state ahead, less what the state itself tells."""
    return lambda results: float(
        results[f"{name}: state from 3"].r2[1] - results[f"{name}: state from itself"].r2[1]  # type: ignore[attr-defined]
    )


TAKENS = "no flow that folds fits in 2; 2 D + 1 = 5 are enough for D = 2.06"
BY_EYE = "he reads the figure by eye; here the first E1 that stays above 0.9, which a coarser recording puts one later"
DENSITY = "what finitely many states leave between neighbours"
YES = "yes or no"

study = CaseStudy(
    title="How many delays of one coordinate does it take to read a hidden state?",
    citation="Cao, Practical method for determining the minimum embedding dimension of a scalar time series, Physica D 110, "
    "1997; Sauer, Yorke, Casdagli, Embedology, J. Stat. Phys. 65, 1991",
    question="From how many delayed values of one recorded number can the state of a map, a flow or a trained network be read?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("Henon's x: delays, by Cao", 2, "Cao's figure 1; x(t + 1) is a function of two values", 0, "a count",
              number_of("Henon's x: Cao", lambda found: found.dimension)),
        Claim("Henon's x: delays that tell the state", 2, "y(t) = 0.3 x(t - 1), closed form", 0, "a count",
              _told("Henon's x", _count)),
        Claim("Henon's x: told by two", 1, "the same", 0.005, DENSITY, _told("Henon's x", lambda told: told[1].r2[0])),
        Claim("Lorenz's x: delays, by Cao", 3, "Cao's figure 2", 1, BY_EYE,
              number_of("Lorenz's x: Cao", lambda found: found.dimension)),
        Claim("Lorenz's x: delays that tell the state", 3, TAKENS, 1, "two miss only where the projection crosses itself",
              _told("Lorenz's x", _count)),
        Claim("Lorenz's x: told by three", 1, "Takens: a function of enough delays", 0.02, DENSITY,
              _told("Lorenz's x", lambda told: told[2].r2[0])),
        Claim("Lorenz's x: forecast from three delays less that from the state", 0, "both determine the future", 0.05, DENSITY,
              _forecast("Lorenz's x")),
        Claim("Lorenz's z: numbers of delays that tell x, of 6", 0, "symmetry (x, y) -> (-x, -y)", 0, "none can: R2 above 0.1",
              _told("Lorenz's z", lambda told: sum(one.per_target[0, 0] > 0.1 for one in told))),
        Claim("Lorenz's z: told of z itself by three", 1, "it is one of them", 0.02, DENSITY,
              _told("Lorenz's z", lambda told: told[2].per_target[0, 2])),
        Claim("Rossler's x: delays, by Cao", 3, "no flow that folds fits in 2; 5 are enough for D = 2.01", 1, BY_EYE,
              number_of("Rossler's x: Cao", lambda found: found.dimension)),
        Claim("Rossler's x: told by three", 1, "Takens: a function of enough delays", 0.05,
              "z, in spikes of a twentieth of a turn, bends most", _told("Rossler's x", lambda told: told[2].r2[0])),
        Claim("the GRU's x: delays, by Cao", 3, "those of Lorenz, whose attractor it learned", 1, BY_EYE,
              number_of("the GRU's x: Cao", lambda found: found.dimension)),
        Claim("the GRU's x: its 32 units told by four delays", 1, "Takens: the attractor's dimension counts, not the units'",
              0.05, DENSITY, _told("the GRU's x", lambda told: told[3].r2[0])),
        Claim("noise: largest |E2 - 1|", 0, "Cao: the future does not depend on the past", 0.15,
              "sampling: 3 % at 700 neighbours, the largest of eight",
              number_of("noise: Cao", lambda found: np.abs(found.E2 - 1).max())),
        Claim("noise: numbers of delays that tell the next value, of 6", 0, "independence", 0, "R2 above 0.1",
              _told("noise", lambda told: sum(one.r2[0] > 0.1 for one in told))),
        *(Claim(f"{name}: mean diagonal of three delays over that of the states", 1,
                "neighbours part at the same rate in both", 0.25, "a quarter: the lines are the same, the distances are not",
                _ratio(name)) for name in ("Lorenz's x", "Rossler's x", "the GRU's x")),
        Claim("noise: recurrences of three delays beyond random phases", 0, "noise", 0, YES,
              number_of("noise: recurrence of 3 delays", lambda found: "random phases" in _beaten(found.nulls))),
        Claim("noisy x: delays of 8 steps tell more than of 1, by a tenth", 1,
              "delays of h write the state's bend as h^2: below the noise at 0.02", 0, YES, _gain(1)),
        Claim("noisy x: delays of 8 steps tell more than of 100, by a tenth", 1,
              "four units of time blow the noise of the oldest value up by e^3.6", 0, YES, _gain(100)),
    ),
    scales={
        "tiny": {"steps": 1500, "recurring": 300, "draws": 1, "flows": False},
        "quick": {"steps": 10_000, "recurring": 3000, "draws": 19, "flows": True},
        "full": {"steps": 50_000, "recurring": 10_000, "draws": 19, "flows": True},
    },
)  # fmt: skip
