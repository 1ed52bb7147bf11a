"""Bits of tanh(2 x) have classes that are their own; a linear map has none beyond distance."""

import math

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from analyses.symbols.swap_test import SwapTest, swap_test
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory

P = 0.9575040240772687  # root of x = tanh(2 x)


def bits(dim=2):
    return Dynamics(lambda x, u: torch.tanh(2 * x + u), dim=dim, driven=True, inputs=dim, name="bits")


def resting(drive=0.0):
    """Sixteen runs at rest, four in each corner, and the corner of every state."""
    corners = np.array([[a * P, b * P] for a in (1, -1) for b in (1, -1)]).repeat(4, axis=0)
    trajectory = rollout(bits(), corners, drives=np.full((16, 30, 2), drive))
    return trajectory, np.arange(4).repeat(4)[:, None].repeat(31, axis=1)


def visited():
    """Two bits under pulses of 3, and the corner that each state is in once left alone."""
    rng = np.random.default_rng(0)
    drives = 3.0 * rng.choice([-1, 0, 1], size=(60, 40, 2), p=[0.05, 0.9, 0.05])
    trajectory = rollout(bits(), 0.3 * rng.standard_normal((60, 2)), drives=drives)
    return trajectory, ((trajectory.states > 0) * [2, 1]).sum(axis=2)


def shrinking(dim, parts):
    """x' = 0.9 x from a Gaussian cloud, cut into clusters."""
    linear = Dynamics(lambda x, _: 0.9 * x, dim=dim, name="linear")
    trajectory = rollout(linear, np.random.default_rng(dim).standard_normal((300, dim)), steps=11)
    classes = np.full((300, 12), -1)
    classes[:, 0] = kmeans2(trajectory.states[:, 0], parts, minit="++", rng=np.random.default_rng(1))[1]
    return linear, trajectory, classes


def specimens():
    trajectory, corners = visited()
    return [swap_test(bits(), trajectory, corners, states=24), swap_test(bits(), trajectory, np.zeros_like(corners))]


def test_swaps_of_resting_bits_have_their_closed_form():
    """A flipped bit changes the readout by 2 P for good, two bits by 2 sqrt(2) P, a state of the same corner nothing."""
    trajectory, corners = resting()
    result = swap_test(bits(), trajectory, corners, horizon=5, states=64)
    one, two = 2 * P, 2 * math.sqrt(2) * P
    expected = [[0, one, one, two], [one, 0, two, one], [one, two, 0, one], [two, one, one, 0]]
    assert np.abs(result.effects - expected).max() < 1e-12  # rounding: P is a fixed point to 1e-16
    assert result.sizes.tolist() == [16] * 4 and result.told_apart.sum() == 12
    assert result.share == pytest.approx(1, abs=1e-12) and result.checks[0].passed
    assert not result.confirmed  # a state exchanged for an equal one shows nothing


def test_an_effect_is_the_root_mean_square_over_the_steps():
    """x' = a x: a swap by d changes step t by a^t d."""
    half = Dynamics(lambda x, _: 0.5 * x, dim=1, readout=lambda x: 3 * x)
    trajectory = rollout(half, [[1.0], [3.0]], steps=3)
    classes = np.array([[0, -1, -1, -1], [1, -1, -1, -1]])
    result = swap_test(half, trajectory, classes, horizon=2)
    assert result.effects[0, 1] == pytest.approx(3 * 2 * math.sqrt((0.5**2 + 0.25**2) / 2), rel=1e-14)
    assert result.moved_across == 2 and math.isnan(result.within) and result.nulls == ()
    direct = swap_test(half, trajectory, classes, horizon=2, readout=lambda x: x)
    assert direct.across == pytest.approx(result.across / 3, rel=1e-14)


def test_the_bits_of_a_driven_network_are_confirmed_and_random_classes_are_not():
    trajectory, corners = visited()
    result = swap_test(bits(), trajectory, corners)
    assert result.confirmed and "6 of 6 pairs of classes are told apart" in result.summary()
    assert result.within < 0.1 * result.across
    shuffled = np.random.default_rng(2).integers(4, size=corners.shape)
    assert not swap_test(bits(), trajectory, shuffled).confirmed


def test_a_class_that_holds_two_memories_and_two_classes_of_one_are_told():
    """Merged: swaps within {++, +-} matter. Split: parities of the step are not told apart."""
    trajectory, corners = visited()
    merged = swap_test(bits(), trajectory, np.where(corners == 3, 2, corners))
    assert merged.effects[2, 2] > 10 * merged.effects[0, 0]
    split = swap_test(bits(), trajectory, 2 * corners + np.arange(41) % 2)
    assert not split.told_apart[::2, 1::2].diagonal().any() and split.told_apart[0, 2:].all()
    assert not split.confirmed


@pytest.mark.parametrize(("dim", "parts"), [(1, 2), (2, 4), (3, 8), (8, 4)])
def test_clusters_of_a_linear_map_are_not_confirmed(dim, parts):
    """All that counts there is the distance: clusters hold a share of the effect, but none at equal distance."""
    result = swap_test(*shrinking(dim, parts), horizon=10)
    assert result.nulls[0].beaten and result.share > 0.1
    assert not result.confirmed and result.matched_within / result.matched_across > 0.95


def test_far_clusters_of_a_linear_map_are_not_confirmed():
    """No equal distances, but the same effect per distance."""
    linear = Dynamics(lambda x, _: 0.9 * x, dim=2)
    centre = np.arange(60) % 3
    starts = 100.0 * np.array([[0, 0], [1, 0], [0, 1]])[centre] + np.random.default_rng(0).standard_normal((60, 2))
    result = swap_test(linear, rollout(linear, starts, steps=5), centre[:, None].repeat(6, axis=1), horizon=5)
    assert result.matched == 0 and result.share > 0.9 and result.told_apart.sum() == 6 and not result.confirmed
    assert len(result.nulls) == 2 and "not as near" in result.summary()


def test_runs_that_overflow_are_counted_and_left_out():
    """x' = x e^u: 0 stays 0 under u = 700, what is put in its place does not."""
    grown = Dynamics(lambda x, u: x * torch.exp(u), dim=1, driven=True, inputs=1)
    drives = np.array([700.0, -1.0, -1.0, -1.0])[:, None, None].repeat(2, axis=1)
    starts = np.array([0.0, 1.0, 2.0, 3.0])[:, None]
    classes = np.array([0, 0, 1, 1])[:, None].repeat(3, axis=1)
    result = swap_test(grown, rollout(grown, starts, drives=drives), classes, horizon=2, states=4)
    assert result.overflowed == 3 and "3 swaps overflowed" in result.summary()
    size = math.sqrt((math.exp(-2) + math.exp(-4)) / 2)  # of a swap by 1
    assert result.within == pytest.approx(size, rel=1e-12)  # 1 to 0, 2 to 3, 3 to 2
    assert result.across == pytest.approx((1 + 2 + 2 + 1 + 3 + 2) / 6 * size, rel=1e-12)


def test_one_class_no_state_and_refusals():
    trajectory, corners = visited()
    alone = swap_test(bits(), trajectory, np.zeros_like(corners), states=16)
    assert math.isnan(alone.across) and alone.nulls == () and not alone.confirmed
    assert "too few classes" in alone.summary()
    none = swap_test(bits(), trajectory, np.full_like(corners, -1))
    assert none.effects.shape == (0, 0) and math.isnan(none.within) and "0 of 0 pairs" in none.summary()
    assert len(swap_test(bits(), trajectory, corners, horizon=41).classes) == 0  # no state is followed by so many
    with pytest.raises(InputError, match=r"shape \(60, 41\), one a state, but float64"):
        swap_test(bits(), trajectory, corners * 1.0)
    with pytest.raises(InputError, match="horizon and partitions are at least 1"):
        swap_test(bits(), trajectory, corners, horizon=0)
    with pytest.raises(DrivenError, match="holds no drives"):
        swap_test(bits(), Trajectory(trajectory.states), corners)


def test_a_record_of_another_network_fails_its_check():
    trajectory, corners = visited()
    other = Dynamics(lambda x, u: torch.tanh(1.9 * x + u), dim=2, driven=True, inputs=2)
    assert not swap_test(other, trajectory, corners, states=16).checks[0].passed


def test_equal_calls_give_equal_results_however_recipients_are_chunked(monkeypatch):
    trajectory, corners = visited()
    first = swap_test(bits(), trajectory, corners, states=40)
    monkeypatch.setattr("analyses.symbols.swap_test.NUMBERS", 1000)
    second = swap_test(bits(), trajectory, corners, states=40)
    assert np.abs(first.effects - second.effects).max() < 1e-13  # a batch's size moves last bits
    assert SwapTest.from_dict(first.to_dict()).summary() == first.summary()
    assert first.plot().get_xlabel() == "class of the state put in"
