"""Which cycles of a piecewise-linear map are reached from words? For words too long for all of them to be tried.

Method: a word is replaced by the signs of the closed orbit of its own affine maps, until it reproduces itself: Newton's
method on the piecewise-linear equation of all k states. The search of Eisenmann, Monfared, Göring and Durstewitz (SCYFI,
NeurIPS 2023) takes the signs of the map's orbit from one state of that closed orbit instead, and starts again from a drawn word
where this repeats itself; here all starts are followed at once, and those that do not settle are counted.

Takes a PiecewiseLinear network, and drawn words or recorded states; costs one (2 k dim)^3 inverse a period, and a (k relu)^3
solve a start and round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from analyses.symbols._census import ENTRIES, in_float64
from analyses.symbols._regions import root
from analyses.symbols._words import closed, cyclic, distinct, solved
from analyses.symbols.exact_cycles import ExactCycles, as_periods, assembled
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

LARGEST = 4096  # coordinates of an orbit of k states with their copies: a minute a period
RETURNS = 256  # words taken from a trajectory, for each period


def find_exact_cycles(
    network: PiecewiseLinear,
    starts: int | Trajectory,
    *,
    periods: Sequence[int],
    rounds: int = 64,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> ExactCycles:
    """Search cycles by words; each one found is then solved and proved real where float64 bounds show it.

    Parameters
    ----------
    starts
        How many words to draw for each period, every bit by a fair coin; or states the map visits, whose words at their 256
        closest returns after each period are taken.
    periods
        Lengths of the words; 1 is always searched too, for the turns about fixed points. A cycle whose period divides one of
        them is listed when it is reached.
    rounds
        How often a word is replaced before it counts as unsettled.
    generator
        Of the drawn words; seeded with 0 when left out.
    watch
        Wraps the periods: progress, budget.

    Returns
    -------
    ExactCycles
        Real cycles only. It is not complete, and says so.

    Raises
    ------
    InputError
        For weights that are not finite, a period below 1, no start, states of another width, or words so long that
        2 k dim exceeds 4096: a map of that many steps a turn is searched on a section.
    """
    network = in_float64(network)
    wanted = as_periods((1, *as_periods(periods)))
    dim, longest = len(network.A), wanted[-1]
    if 2 * longest * dim > LARGEST:
        raise InputError(
            f"a word of {longest} symbols with {dim} units is an equation in {2 * longest * dim} unknowns, more than "
            f"{LARGEST}: ask for periods up to {LARGEST // (2 * dim)}, or search a return map (hooks.section.return_map)"
        )
    if isinstance(starts, Trajectory) and starts.states.shape[2] != dim:
        raise InputError(f"the network has {dim} units, but states of {starts.states.shape[2]} came")
    if isinstance(starts, int) and starts < 1:
        raise InputError(f"at least one word is drawn, not {starts}")
    generator = generator or np.random.default_rng(0)

    reached: list[np.ndarray] = []
    begun = unsettled = done = 0
    for words, first, lost in watch(_by_period(network, starts, wanted, rounds, generator), len(wanted)):
        reached.extend(words)
        begun, unsettled, done = begun + first, unsettled + lost, done + 1
    cycles = [solved(network, group) for group in distinct(network, reached)]
    return assembled(
        network,
        [cycle.only(cycle.real) for cycle in cycles],
        searched=wanted,
        fixed=[-1] * len(wanted),
        starts=begun,
        unsettled=unsettled,
        stopped=done < len(wanted),
    )


def _by_period(
    network: PiecewiseLinear,
    starts: int | Trajectory,
    periods: tuple[int, ...],
    rounds: int,
    generator: np.random.Generator,
) -> Iterator[tuple[Bool[np.ndarray, "words k relu"], int, int]]:
    """For each period the distinct words that reproduce themselves, how many starts there were, and how many led to none."""
    for k in periods:
        if isinstance(starts, Trajectory):
            words = _returning(network, starts, k)
        else:
            words = generator.random((starts, k, network.relu)) < 0.5
        base, table = root(cyclic(network, k))
        rectified = table.mid[len(table.mid) - k * network.relu :]
        settled = _followed(rectified, base, torch.from_numpy(words.reshape(len(words), k * network.relu)), rounds)
        own = np.unique(settled.numpy(), axis=0)
        yield own.reshape(len(own), k, network.relu), len(words), len(words) - len(settled)


def _followed(table: Tensor, base: Tensor, words: Tensor, rounds: int) -> Tensor:
    """The words at which the starts settle, one for each start that does."""
    settled = [words[:0]]
    for _ in range(rounds + 1):
        parts = words.split(max(1, ENTRIES // max(1, len(base)) ** 2))
        orbits = torch.cat([table[:0, :-1], *(closed(table, base, part) for part in parts)])
        after = orbits > 0
        same = (after == words).all(1) & torch.isfinite(orbits).all(1)
        settled.append(words[same])
        words = after[~same]
        if not len(words):
            break
    return torch.cat(settled)


def _returning(network: PiecewiseLinear, trajectory: Trajectory, k: int) -> Bool[np.ndarray, "words k relu"]:
    """Words of the k states before the closest returns after k steps."""
    states, cut = trajectory.states, len(network.A) - network.relu
    if states.shape[1] <= k:
        return np.zeros((0, k, network.relu), dtype=bool)
    distances = np.linalg.norm(states[:, k:] - states[:, :-k], axis=2)
    distances = np.where(trajectory.valid[:, k:], distances, np.inf).ravel()
    closest = np.argsort(distances, kind="stable")[:RETURNS]
    run, first = np.divmod(closest[np.isfinite(distances[closest])], states.shape[1] - k)
    return states[run[:, None], first[:, None] + np.arange(k), cut:] > 0
