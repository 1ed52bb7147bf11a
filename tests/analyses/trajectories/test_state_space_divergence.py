import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from analyses.trajectories.state_space_divergence import Bins, Mixture, state_space_divergence
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def cloud(states, dim=1, mean=0.0, seed=0, runs=1):
    return Trajectory(mean + np.random.default_rng(seed).standard_normal((runs, states, dim)))


def specimens():
    real = cloud(200, 2)
    others = cloud(50, 2, seed=2, runs=2)
    return [
        state_space_divergence(real, cloud(50, 2, seed=1), form=Bins(4), others=others),
        state_space_divergence(Trajectory(np.zeros((1, 5, 1))), Trajectory(np.ones((1, 5, 1))), form=Mixture(draws=3)),
    ]


def test_bins_give_the_divergence_of_two_gaussians_as_cut_by_their_cells():
    real, made = cloud(200_000), cloud(200_000, mean=1.0, seed=1)
    found = state_space_divergence(real, made)
    edges = np.linspace(real.states.min(), real.states.max(), 31)
    p, q = np.diff(norm.cdf(edges)), np.diff(norm.cdf(edges - 1.0))
    # var ln(p/q) = 1, so the mean over 2e5 states is good to 0.0022, and as much for q: 4 of both together
    assert found.divergence == pytest.approx((p * np.log(p / q)).sum(), abs=0.013)
    assert found.divergence == pytest.approx(0.5, abs=0.02)  # cells 0.3 wide lose 0.004 of the continuous KL
    assert found.outside == pytest.approx(norm.sf(real.states.max() - 1.0), abs=4e-4)  # 4 binomial errors


@pytest.mark.parametrize("zeros", [0, 10])
def test_mixtures_give_the_divergence_of_gaussians_widened_by_their_variance(zeros):
    def padded(recording):
        return Trajectory(np.concatenate([recording.states, np.zeros((1, 4000, zeros))], axis=2))

    # N(0, 2) and N(1, 2): KL = 1/4; further coordinates in which nothing differs add nothing
    found = state_space_divergence(
        padded(cloud(4000)), padded(cloud(4000, mean=1.0, seed=1)), form=Mixture(1.0, draws=2000)
    )
    assert found.standard_error == pytest.approx(math.sqrt(0.5 / 2000), rel=0.1)  # ln p/q is N(1/4, 1/2)
    assert abs(found.divergence - 0.25) < 4 * math.hypot(found.standard_error, math.sqrt(0.5 / 4000))


@pytest.mark.parametrize("form", [Bins(), Mixture()])
def test_the_same_states_are_at_0_and_their_order_does_not_matter(form):
    real = cloud(500, 3)
    shuffled = Trajectory(np.random.default_rng(1).permutation(real.states, axis=1))
    again = state_space_divergence(real, shuffled, form=form)
    assert again.divergence == pytest.approx(0, abs=1e-12) and all(check.passed for check in again.checks)
    other = cloud(500, 3, mean=0.5, seed=2)
    one, two = (state_space_divergence(real, other, form=form).divergence for _ in range(2))
    assert one == two > 0


def test_empty_cells_enter_by_their_number():
    # all true states in cell 0 of 4, all generated outside: of 5 cells, 2 hold states, 3 are empty
    real = Trajectory(np.array([[[0.0], [0.0], [0.0], [4.0]]]))
    made = Trajectory(np.full((1, 4, 1), 9.0))
    a, total = 0.01, 4 + 5 * 0.01
    by_hand = ((3 + a) * math.log((3 + a) / a) + (1 + a) * math.log((1 + a) / a) + a * math.log(a / (4 + a))) / total
    found = state_space_divergence(real, made, form=Bins(4, 0.01))
    assert found.divergence == pytest.approx(by_hand, rel=1e-12)
    assert found.outside == 1 and "100.0 % of the generated states are outside" in found.summary()


def test_a_recording_of_the_true_system_is_told_from_it_as_rarely_as_the_level_says():
    beaten = 0
    for seed in range(100):
        draws = cloud(60, 1, seed=seed, runs=20)
        others = Trajectory(draws.states[1:])
        found = state_space_divergence(
            cloud(200, 1, seed=1000 + seed), Trajectory(draws.states[:1]), form=Bins(8), others=others
        )
        beaten += found.nulls[0].beaten
    assert beaten / 100 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
    assert found.divergence > 0  # sampling alone gives more than 0
    far = state_space_divergence(cloud(200), cloud(60, mean=2.0, seed=1), form=Bins(8), others=others)
    assert far.nulls[0].beaten and far.halves < far.divergence


def test_an_orbit_that_overflowed_counts_with_the_states_it_has():
    states = np.concatenate([np.zeros((1, 3, 1)), np.full((1, 3, 1), np.nan)], axis=1)
    found = state_space_divergence(cloud(100), Trajectory(states, lengths=np.array([3])), form=Bins(5))
    assert found.states == (100, 3) and math.isfinite(found.divergence)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="recordings of 1 and 2 coordinates cannot be compared"):
        state_space_divergence(cloud(9), cloud(9, 2))
    with pytest.raises(InputError, match="each other recording needs 9, as the generated one has"):
        state_space_divergence(cloud(9), cloud(9), others=cloud(8, runs=2))
    with pytest.raises(InputError, match=r"9 states: take fewer bins, more states, or Mixture\(\)"):
        state_space_divergence(cloud(9, 6), cloud(9, 6))
    with pytest.raises(InputError, match="two states at least"):
        state_space_divergence(cloud(1), cloud(9), form=Bins(2))
    with pytest.raises(InputError, match="bins an axis are at least 1"):
        state_space_divergence(cloud(9), cloud(9), form=Bins(0))
    with pytest.raises(InputError, match="variance and points are positive"):
        state_space_divergence(cloud(9), cloud(9), form=Mixture(variance=0.0))


def test_equal_generators_give_equal_numbers_and_other_ones_stay_within_the_error():
    real, made = cloud(300), cloud(300, mean=0.5, seed=1)
    values = [
        state_space_divergence(real, made, form=Mixture(), generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert values[0].divergence == values[1].divergence != values[2].divergence
    gap = values[0].divergence - values[2].divergence
    assert abs(gap) < 4 * math.hypot(values[0].standard_error, values[2].standard_error)
