import numpy as np
import pytest

from analyses.maps.memorisation import EXCESS, RANK, memorisation
from hooks.errors import InputError

rng = np.random.default_rng(0)
TRAINING, HELD_OUT = rng.standard_normal((200, 20)), rng.standard_normal((100, 20))


def specimens():
    return [
        memorisation(TRAINING[:5], TRAINING, beside={"held-out points": HELD_OUT}, image=(4, 5), draws=19),
        memorisation(np.zeros((0, 20)), TRAINING, beside={"held-out points": HELD_OUT}),
    ]


def test_training_points_themselves_are_memorised_and_beat_the_held_out_ones():
    found = memorisation(3.0 * TRAINING[[7, 2, 9]], TRAINING, beside={"held-out points": HELD_OUT})
    assert found.cosines == pytest.approx(1, abs=1e-12) and found.nearest.tolist() == [7, 2, 9]
    assert np.array_equal(found.pairs[0], 3 * found.pairs[1])
    assert found.shown and found.checks[0].passed
    # p of a value beyond all 999 draws: 1 / 1000
    assert next(null.p for null in found.nulls if null.statistic == EXCESS) == pytest.approx(0.001)


def test_held_out_points_as_attractors_are_not_memorised():
    found = memorisation(HELD_OUT[:10], TRAINING, beside={"held-out points": HELD_OUT[10:]})
    assert not found.shown
    assert "memorisation is not shown, since they come no nearer than held-out points" in found.summary()


def test_points_farther_than_their_null_are_not_memorised_either():
    flipped = -np.abs(TRAINING[:10])
    found = memorisation(flipped, np.abs(TRAINING), beside={"held-out points": np.abs(HELD_OUT)})
    assert next(null.p for null in found.nulls if null.statistic == EXCESS) == 1 and not found.shown


def test_random_attractors_beat_their_null_in_one_case_of_twenty():
    beaten = []
    for seed in range(60):
        again = np.random.default_rng(seed).standard_normal((120, 20))
        found = memorisation(again[:20], TRAINING, beside={"others": again[20:]}, draws=99)
        beaten.append(next(null.beaten for null in found.nulls if null.statistic == EXCESS))
    assert np.mean(beaten) <= 0.15  # 3 of 60 expected; more than 9 with p = 0.001


def test_cosines_and_rank_in_closed_form():
    corner = np.array([[1.0, 1.0, 0.0]])
    found = memorisation(corner, np.eye(3), beside={})
    assert found.mean == pytest.approx(np.sqrt(0.5), abs=1e-15) and found.rank == 1 and found.nulls == ()
    # squares 9, 1, 1e-4: the first holds just less than 90 %; without the third it holds exactly that
    assert memorisation(np.diag([3.0, 1.0, 0.01]), np.eye(3), beside={}).rank == 2
    assert memorisation(np.diag([3.0, 1.0]), np.eye(2), beside={}).rank == 1


def test_the_rank_stands_beside_that_of_equally_many_points():
    flat = rng.standard_normal((12, 1)) * TRAINING[:1]
    found = memorisation(flat, TRAINING, beside={"held-out points": HELD_OUT})
    null = next(null for null in found.nulls if null.statistic == RANK)
    assert found.rank == 1 and null.beaten and null.draws.min() >= 6  # of 12 random directions half hold less than 90 %


def test_a_set_that_is_too_small_gives_no_null_and_an_attractor_at_zero_no_cosine():
    found = memorisation(np.zeros((2, 20)), TRAINING, beside={"one point": HELD_OUT[:1]})
    assert found.nulls == () and found.cosines.tolist() == [0, 0] and found.rank == 0
    assert "too few points beside them to tell" in found.summary()


def test_refusals():
    with pytest.raises(InputError, match="and none came"):
        memorisation(TRAINING, np.zeros((0, 20)), beside={})
    with pytest.raises(InputError, match=r"decoded has shape \(points, 20\), all finite, but \(2, 3\) came"):
        memorisation(np.zeros((2, 3)), TRAINING, beside={})
    with pytest.raises(InputError, match=r"an image is \(height, width\) of 20 values, but \(3, 5\) came"):
        memorisation(TRAINING, TRAINING, beside={}, image=(3, 5))
    with pytest.raises(InputError, match="all finite"):
        memorisation(np.full((2, 20), np.nan), TRAINING, beside={})
