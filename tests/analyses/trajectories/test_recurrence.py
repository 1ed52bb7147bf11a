import math

import numpy as np
import pytest

from analyses.result import Outcome
from analyses.trajectories.recurrence import recurrence
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def recorded(name, steps, **options):
    system = SYSTEMS[name]
    dynamics = system.make(**options)
    return rollout(dynamics, [list(system.start(dynamics.dim))], steps=steps - 1, burn_in=1000)


def on_a_circle(steps, runs=1, seed=0):
    """Independent points, each as near to the others as any."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (runs, steps))
    return Trajectory(np.stack([np.cos(angles), np.sin(angles)], axis=2))


def cycle(period, steps):
    """Distances of two states of it are exactly alike in every turn."""
    return Trajectory(np.resize(np.random.default_rng(1).standard_normal((period, 2)), (steps, 2))[None])


def specimens():
    return [recurrence(recorded("Henon", 300), draws=3), recurrence(Trajectory(np.ones((2, 50, 1))))]


def by_loops(states, radius, shortest, theiler):
    """The definitions, written out."""
    steps = len(states)

    def recurs(i, j):
        return abs(i - j) > theiler and np.linalg.norm(states[i] - states[j]) <= radius

    def runs(flags):
        lengths, now = [], 0
        for flag in (*flags, False):
            lengths += [now] if now and not flag else []
            now = now + 1 if flag else 0
        return lengths

    diagonals, ends, verticals, gaps = [], [], [], []
    for lag in range(1, steps):
        flags = [recurs(i, i + lag) for i in range(steps - lag)]
        lengths = runs(flags)
        diagonals += lengths
        if lengths and all(flags):
            ends.append(lengths[0])
        elif lengths:
            ends += ([lengths[0]] if flags[0] else []) + ([lengths[-1]] if flags[-1] else [])
    for i in range(steps):
        for side in (range(0, max(0, i - theiler)), range(i + theiler + 1, steps)):
            flags = [recurs(i, j) for j in side]
            verticals += runs(flags)
            gaps += np.diff([j for j in range(1, len(flags)) if flags[j] and not flags[j - 1]]).tolist()
    inner = list(diagonals)
    for length in ends:
        inner.remove(length)
    inner += [max(ends)] if ends else []
    inner = np.array([length for length in inner if length >= shortest])
    shares = np.unique(inner, return_counts=True)[1] / len(inner)
    standing = [length for length in verticals if length >= shortest]
    return {
        "determinism": sum(length for length in diagonals if length >= shortest) / sum(diagonals),
        "mean_diagonal": inner.mean(),
        "diagonal_entropy": -(shares * np.log(shares)).sum(),
        "longest_diagonal": max(diagonals),
        "laminarity": sum(standing) / sum(verticals),
        "mean_vertical": np.mean(standing),
        "longest_vertical": max(verticals),
        "recurrence_time": np.mean(gaps),
        "rate": 2 * sum(diagonals) / ((steps - theiler) * (steps - theiler - 1)),
    }


@pytest.mark.parametrize(("theiler", "shortest", "rate"), [(0, 2, 0.1), (3, 3, 0.3), (25, 2, 0.5)])
def test_every_number_is_that_of_the_definitions(theiler, shortest, rate):
    trajectory = recorded("Lorenz63", 90, dt=0.05)
    found = recurrence(trajectory, rate=rate, theiler=theiler, shortest=shortest, draws=0)
    expected = by_loops(trajectory.states[0], found.radius[0], shortest, theiler)
    for name, value in expected.items():
        assert getattr(found, name)[0] == pytest.approx(value, abs=1e-12), name
    assert all(check.passed for check in found.checks)


def test_the_rate_is_the_one_asked_for_to_a_pair():
    for rate in (0.01, 0.2, 0.7):
        found = recurrence(on_a_circle(1500, seed=2), rate=rate, draws=0, theiler=10)
        assert abs(found.rate[0] - rate) <= 1 / (1490 * 1489 / 2)


@pytest.mark.parametrize("shortest", [2, 3])
def test_independent_points_have_the_lines_of_independent_pairs(shortest):
    """Neighbours of equal probability r: a line goes on with probability r, so that its length is geometric."""
    r, runs = 0.2, 8
    found = recurrence(on_a_circle(700, runs), rate=r, shortest=shortest, theiler=0, draws=0)
    share = shortest * r ** (shortest - 1) - (shortest - 1) * r**shortest
    mean = 1 / (r * (1 - r))  # of a time inside and one outside, both geometric
    variance = r / (1 - r) ** 2 + (1 - r) / r**2
    # Four standard errors from the spread of the runs, and what the border adds: 1 / 700 of a length, and of the times those
    # that it cuts, which are longer than the mean by variance / mean, one in each column's half of 350 steps.
    for values, expected, border in (
        (found.determinism, share, share / 700),
        (found.laminarity, share, share / 700),
        (found.mean_diagonal, shortest + r / (1 - r), shortest / 700),
        (found.mean_vertical, shortest + r / (1 - r), shortest / 700),
        (found.diagonal_entropy, -math.log(1 - r) - r / (1 - r) * math.log(r), 1 / 700),
        (found.recurrence_time, mean, variance / 350),
    ):
        assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / math.sqrt(runs) + border


def test_a_cycle_comes_back_after_its_period_and_stays_with_itself():
    found = recurrence(cycle(7, 210), rate=0.05, theiler=0, draws=0)
    assert found.determinism[0] == 1 and found.laminarity[0] == 0 and math.isnan(found.mean_vertical[0])
    # the radius cannot part equal states: every 7th pair recurs
    assert found.radius[0] < 1e-8 and found.rate[0] == pytest.approx(2 * sum(range(7, 210, 7)) / (210 * 209))
    assert found.recurrence_time[0] == 7 and found.longest_diagonal[0] == 203
    # every line is cut by the border; the longest alone is kept, so there is one length
    assert found.mean_diagonal[0] == 203 and found.diagonal_entropy[0] == 0


def test_logistic_map_is_deterministic_in_its_window_and_less_so_the_more_chaotic():
    """A period of three at 3.83; exponents 0.18 at 3.6 and ln 2 at 4, where lines end sooner."""
    window, weak, full = (recurrence(recorded("logistic", 600, r=r), draws=0, theiler=0) for r in (3.83, 3.6, 4.0))
    assert window.determinism[0] > 0.999 and window.recurrence_time[0] == pytest.approx(3, abs=1e-9)
    assert weak.determinism[0] > full.determinism[0] + 0.05 and weak.mean_diagonal[0] > 1.5 * full.mean_diagonal[0]


def test_lines_on_an_expanding_circle_map_end_at_the_rate_of_its_expansion():
    """x -> 3 x mod 1 triples a distance: of the pairs within a radius, 1/3 stay within it, wherever they are."""
    # the orbit is a sequence of ternary digits, since floating point would lose them
    digits = np.random.default_rng(4).integers(0, 3, 1500 + 30)
    angles = 2 * np.pi * np.array([(digits[i : i + 30] / 3.0 ** np.arange(1, 31)).sum() for i in range(1500)])
    found = recurrence(Trajectory(np.stack([np.cos(angles), np.sin(angles)], 1)[None]), rate=0.02, draws=0, theiler=0)
    # lengths are geometric with 1/3 to go on: (1 - 1/3)^2 of the points are on lines of 1, the rest on longer ones
    assert found.determinism[0] == pytest.approx(
        5 / 9, abs=0.03
    )  # a pair that left returns at once with probability 0.01
    assert found.mean_diagonal[0] == pytest.approx(2.5, abs=0.1)


def test_numbers_do_not_change_with_the_unit_the_place_or_the_axes():
    trajectory = recorded("Henon", 400)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    one, other = (
        recurrence(t, draws=0, theiler=1) for t in (trajectory, Trajectory(3 + 100 * trajectory.states @ turn))
    )
    assert other.radius[0] == pytest.approx(100 * one.radius[0]) and other.determinism[0] == one.determinism[0]
    assert other.laminarity[0] == one.laminarity[0] and other.recurrence_time[0] == one.recurrence_time[0]


def test_runs_are_alone_and_delays_are_values_of_one_run():
    both = np.stack([recorded("Henon", 300).states[0], on_a_circle(300).states[0]])
    found, alone = (
        recurrence(t, draws=0, theiler=2)
        for t in (Trajectory(both, lengths=np.array([300, 200])), Trajectory(both[1:, :200]))
    )
    assert found.determinism[1] == alone.determinism[0] and found.radius[1] == alone.radius[0]
    x = recorded("Henon", 302).states[:, :, :1]
    delayed = recurrence(Trajectory(x), dimension=2, delay=2, draws=0, theiler=2)
    pairs = recurrence(Trajectory(np.concatenate([x[:, :-2], x[:, 2:]], 2)), draws=0, theiler=2)
    assert delayed.determinism[0] == pairs.determinism[0] and delayed.radius[0] == pairs.radius[0]


def test_chaos_beats_both_nulls_and_noise_beats_neither():
    chaos = recurrence(recorded("Henon", 500), theiler=1)
    assert all(null.beaten for null in chaos.nulls if null.statistic == "determinism") and len(chaos.nulls) == 4
    noise = [
        recurrence(Trajectory(np.random.default_rng(seed).standard_normal((1, 150, 2))), theiler=1)
        for seed in range(10)
    ]
    # forty tests at a level of 5 %: more than six are chance in 0.3 % of such sets, and the seeds are fixed
    assert sum(null.beaten for found in noise for null in found.nulls) <= 6
    assert any("not told apart" in found.summary() for found in noise)


def test_smooth_noise_beats_the_shuffle_and_not_the_random_phases():
    """An oscillation driven by noise: its high determinism is that of its spectrum."""
    random, x = np.random.default_rng(6), np.zeros(800)
    for t in range(2, 800):
        x[t] = 1.9 * x[t - 1] - 0.95 * x[t - 2] + random.standard_normal()
    found = recurrence(Trajectory(x[None, 200:, None]), dimension=2, delay=4)
    verdicts = {null.name: null.beaten for null in found.nulls if null.statistic == "determinism"}
    assert found.determinism[0] > 0.5 and verdicts == {"shuffled": True, "random phases": False}


def test_what_does_not_move_or_is_short_is_not_measured():
    found = recurrence(Trajectory(np.ones((1, 50, 3))))
    assert found.outcomes == (Outcome.TOO_SHORT,) and math.isnan(found.determinism[0]) and found.nulls == ()
    assert recurrence(on_a_circle(19)).outcomes == (Outcome.TOO_SHORT,)
    assert recurrence(Trajectory(np.zeros((0, 5, 1)))).summary().startswith("0 of 0 runs measured")
    none = recurrence(on_a_circle(40), radius=1e-9, theiler=0)
    assert none.nulls == ()
    assert none.rate[0] == 0 and none.longest_diagonal[0] == 0 and math.isnan(none.determinism[0])


def test_surrogates_that_never_come_back_within_the_radius_have_no_lines():
    found = recurrence(cycle(7, 73), radius=1e-9, theiler=0)  # of 73 steps no surrogate is periodic
    phases = next(null for null in found.nulls if (null.name, null.statistic) == ("random phases", "determinism"))
    assert (phases.draws == 0).all() and phases.observed == 1 and phases.beaten


def test_refusals():
    with pytest.raises(InputError, match="a rate is between 0 and 1"):
        recurrence(on_a_circle(30), rate=1.0)
    with pytest.raises(InputError, match=r"a radius above 0, but rate=0\.05 and radius=0\.0 came"):
        recurrence(on_a_circle(30), radius=0.0)
    with pytest.raises(InputError, match="are at least 1"):
        recurrence(on_a_circle(30), shortest=0)
