import numpy as np
import pytest

from analyses.trajectories.rotation import rotations
from hooks.errors import InputError
from hooks.trajectory import Trajectory

# Clockwise turns of Gaussian walks of T sites, measured before by other code on 4096 walks (standard error below 0.03).
WALKS = {13: 1.93, 26: 4.24, 64: 10.9}
PUBLISHED = 10.74  # arXiv 2502.12131, mean over units at 64 sites


def walks(runs, sites, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((runs, sites, dim)).cumsum(axis=1)


def over_depth(states, **labels):
    return Trajectory(states, "layer", labels=labels)


def cycles(count, sites, phases):
    depth = np.arange(sites) / (sites - 1)
    return np.sin(2 * np.pi * count * depth[:, None] + phases)[None]


def specimens():
    moving = over_depth(walks(3, 6, 4))
    twins = [rotations(over_depth(walks(3, 6, 4, seed)), draws=0) for seed in range(1, 4)]
    return [rotations(moving, twins=twins, draws=9), rotations(over_depth(np.ones((2, 5, 3))))]


def test_five_cycles_are_counted_as_five():
    # 5 x 62 / 63 = 4.92, and one-sided slopes at both ends turn it by up to 0.2 with the phase; a sine and a cosine do not
    assert rotations(over_depth(cycles(5, 64, np.zeros(1))), draws=0).mean_turns == pytest.approx(5, abs=0.1)
    # at 512 sites the ends no longer count, whatever the phase
    turns = rotations(over_depth(cycles(5, 512, np.linspace(0, 6, 9))), draws=0).turns
    assert turns == pytest.approx(np.full(9, 5.0), abs=0.1)


@pytest.mark.parametrize("sites", WALKS)
def test_a_walk_turns_as_often_as_was_measured_elsewhere(sites):
    found = rotations(over_depth(walks(1, sites, 4096)), draws=0)
    spread = 1.7 / np.sqrt(4096)  # of one walk, at 64 sites; below that less
    assert found.mean_turns == pytest.approx(WALKS[sites], abs=4 * spread + 0.03)


def test_the_published_count_is_that_of_a_walk_and_its_own_null_is_not_one():
    found = rotations(over_depth(walks(1, 64, 4096)), draws=0)
    assert found.turns.mean() - PUBLISHED == pytest.approx(0, abs=0.3)
    shuffled = np.random.default_rng(1).permuted(walks(1, 64, 4096), axis=1)
    assert rotations(over_depth(shuffled), draws=0).mean_turns > 14  # the paper's null: 14.9


def test_a_gaussian_walk_does_not_beat_its_nulls_beyond_their_level():
    # p of each null is uniform for a walk, or above: of 60, 3 are expected below 0.05, more than 9 with probability 0.001
    names = ("random walk", "turned increments", "shuffled increments", "flipped increments")
    beaten = dict.fromkeys(names, 0)
    for seed in range(60):
        found = rotations(over_depth(walks(1, 16, 128, seed)), draws=39)
        for null in found.nulls:
            if null.name in beaten:
                beaten[null.name] += null.beaten
    assert max(beaten.values()) <= 9


def test_cycles_beat_every_null():
    noise = 0.01 * np.random.default_rng(0).standard_normal((1, 64, 24))
    found = rotations(over_depth(cycles(5, 64, np.linspace(0, 6, 24)) + noise))
    assert all(null.beaten for null in found.nulls) and found.mean_turns < 6


def test_turns_do_not_change_with_scale_and_change_sign_with_none():
    states = walks(2, 20, 8)
    one = rotations(over_depth(states), draws=0).turns
    assert rotations(over_depth(3 * states + 5), draws=0).turns == pytest.approx(one, abs=1e-9)
    assert rotations(over_depth(-states), draws=0).turns == pytest.approx(one, abs=1e-9)


def test_positions_of_one_text_are_averaged_before_texts_are():
    a, b, c = walks(3, 12, 4)
    found = rotations(over_depth(np.stack([a, b, c]), text=np.array([0, 0, 1])), draws=0)
    again = rotations(over_depth((((a + b) / 2 + c) / 2)[None]), draws=0)
    assert found.turns == pytest.approx(again.turns, abs=1e-12) and found.per_text.shape == (2,)


def test_units_that_never_move_are_left_out():
    states = walks(1, 12, 3)
    states[:, :, 1] = 7.0
    found = rotations(over_depth(states), draws=0)
    assert np.isnan(found.turns[1]) and found.mean_turns == pytest.approx(np.nanmean(found.turns))
    rest = rotations(over_depth(np.ones((2, 5, 3))))
    assert np.isnan(rest.mean_turns) and rest.nulls == () and rest.summary() == "none of 3 units moves, so none turns"


def test_refusals():
    with pytest.raises(InputError, match="clock 'layer', three sites or more, none padded; clock 'time'"):
        rotations(Trajectory(walks(1, 8, 2)))
    with pytest.raises(InputError, match="1 runs of 2 sites"):
        rotations(over_depth(walks(1, 2, 2)))
    with pytest.raises(InputError, match=r"compares twins of \(8, 2\) .* a twin has \(9, 2\)"):
        rotations(over_depth(walks(1, 8, 2)), twins=[rotations(over_depth(walks(1, 9, 2)), draws=0)])
