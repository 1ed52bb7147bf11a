import numpy as np
import pytest

from analyses.result import Outcome
from analyses.series.delay_embedding import delay_embedded, delay_embedding
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.errors import InputError


def noise(steps=1500, seed=0):
    return np.random.default_rng(seed).standard_normal(steps)


def recorded(name, steps, **options):
    system = SYSTEMS[name]
    start = [list(system.start(system.make(**options).dim))]
    return rollout(system.make(**options), start, steps=steps - 1, burn_in=1000).states[0, :, 0]


def specimens():
    return [delay_embedding(recorded("Henon", 1000), references=500), delay_embedding(np.ones(500))]


def test_henon_unfolds_in_its_two_delayed_values():
    """x(t + 1) = 1 - 1.4 x(t)^2 + 0.3 x(t - 1): two values determine the next, one does not."""
    found = delay_embedding(recorded("Henon", 2000), references=1000)
    assert found.delay == 1 and found.dimension == 2
    assert found.E1[0] < 0.1 and found.nulls[0].beaten and found.checks[0].passed


def test_lorenz_unfolds_in_three_or_four():
    """Cao's figure 2: E1 of Lorenz's x stops changing at 3; on a tenth of his density the turn comes a dimension later."""
    found = delay_embedding(recorded("Lorenz63", 9000, dt=0.01)[::3], most=6, references=1000)
    assert found.dimension in (3, 4) and found.nulls[0].beaten
    assert 0.1 <= 0.03 * found.delay <= 0.25  # of a turn of 0.75


def test_noise_does_not_depend_on_its_past():
    """Of ten recordings the level of 5 % takes one at most: two are chance in 9 % of such tests, and the seeds are fixed."""
    found = [delay_embedding(noise(seed=seed), most=4, references=700) for seed in range(10)]
    assert sum(result.nulls[0].beaten for result in found) <= 1
    # sampling errors of mean differences over 700 neighbours: some 3 %
    assert max(np.abs(result.E2 - 1).max() for result in found) < 0.15
    assert found[0].dimension == -1 and "does not stay above" in found[0].summary()


def test_a_cycle_needs_two_values_or_three():
    found = delay_embedding(np.sin(0.1 * np.arange(3000)), draws=0, most=5, references=1000)
    assert found.dimension in (2, 3) and not found.nulls


def test_runs_share_neighbours_but_not_states():
    series = recorded("Henon", 2000)
    whole, cut = (delay_embedding(x, draws=0, references=1000, most=3) for x in (series, series.reshape(4, 500)))
    assert np.abs(cut.E1 - whole.E1).max() < 0.1  # the same states but for 12 at the ends, and other neighbours
    embedded = delay_embedded(np.arange(10.0).reshape(2, 5), dimension=2, delay=3)
    assert embedded.tolist() == [[[0, 3], [1, 4]], [[5, 8], [6, 9]]]
    assert delay_embedded(np.arange(7), dimension=3, delay=2).tolist() == [[[0, 2, 4], [1, 3, 5], [2, 4, 6]]]


def test_a_constant_and_a_short_series_have_none():
    assert delay_embedding(np.ones(500)).outcome is Outcome.TOO_SHORT
    assert delay_embedding(noise(150)).dimension == -1
    assert delay_embedding(np.zeros((0, 10))).outcome is Outcome.TOO_SHORT


def test_refusals():
    with pytest.raises(InputError, match="most and references are at least 1"):
        delay_embedding(noise(), most=0)
    with pytest.raises(InputError, match="need more than 6 steps, but 5 came"):
        delay_embedded(np.arange(5.0), dimension=3, delay=3)
