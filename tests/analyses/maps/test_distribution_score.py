import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from analyses.maps.distribution_score import NEIGHBOURS, START, TRAJECTORY, distribution_score
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from tests.known import linear

rng = np.random.default_rng(0)
INSIDE, OUTSIDE, TRAINING = (rng.normal(0, s, (n, 2)) for s, n in ((1.0, 80), (2.0, 60), (1.0, 300)))
HALF = linear(0.5 * np.eye(2))


def score(dynamics=HALF, inside=INSIDE, outside=OUTSIDE, others=None, **options):
    options = {"draws": 199, "steps": 20} | options
    return distribution_score(
        dynamics, [[0.0, 0.0]], inside, outside, training=TRAINING, others=others or {}, **options
    )


def specimens():
    return [score(others={"error": (np.zeros(80), np.ones(60))}, draws=19), score(linear(2 * np.eye(2)), draws=0)]


def test_the_trajectory_of_a_contraction_has_its_closed_form():
    """x -> x / 2: distances |x|, |x| / 2, ...; their mean over T + 1 states is |x| (2 - 2^-T) / (T + 1)."""
    found = score(steps=3)
    assert found.inside[0] == pytest.approx(np.linalg.norm(INSIDE, axis=1) * (2 - 2**-3) / 4, rel=1e-12)
    assert found.outside[1] == pytest.approx(np.linalg.norm(OUTSIDE, axis=1), rel=1e-12)
    # proportional to the start's own distance, so both scores rank alike and nothing is gained
    assert found.gains[1] == pytest.approx(0, abs=1e-15) and not found.shown
    assert "that the trajectory tells more than code to attractor" in found.summary()


def test_areas_and_false_positives_are_those_of_scikit_learn():
    ties = (rng.integers(0, 5, 80).astype(float), rng.integers(2, 8, 60).astype(float))
    found = score(others={"ties": ties})
    labels = np.repeat([0, 1], [80, 60])
    for row in range(len(found.names)):
        scores = np.concatenate([found.inside[row], found.outside[row]])
        assert found.auroc[row] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        # inside as the positive class, larger scores being less inside: the first threshold that accepts 95 % of it
        false, true, _ = roc_curve(1 - labels, -scores, drop_intermediate=False)
        assert found.fpr95[row] == pytest.approx(false[np.argmax(true >= 0.95)], abs=1e-12)


def test_the_neighbours_are_the_fifth_nearest():
    found = score()
    distances = np.sort(np.linalg.norm(INSIDE[:, None] - TRAINING, axis=2), axis=1)
    assert found.names == (TRAJECTORY, START, NEIGHBOURS)
    assert found.inside[2] == pytest.approx(distances[:, 4], rel=1e-9)


def test_intervals_hold_the_estimate_and_shrink_with_the_inputs():
    few, many = score(), score(inside=np.tile(INSIDE, (9, 1)), outside=np.tile(OUTSIDE, (9, 1)))
    assert (few.auroc_intervals[:, 0] <= few.auroc).all() and (few.auroc <= few.auroc_intervals[:, 1]).all()
    shrunk = np.ptp(many.auroc_intervals, axis=1) / np.ptp(few.auroc_intervals, axis=1)
    assert shrunk == pytest.approx(1 / 3, abs=0.08)  # nine times the inputs; quantiles of 199 draws scatter by 10 %


def test_only_the_trajectory_tells_what_leaves_from_what_stays():
    """x is doubled where y > 0 and halved elsewhere, y stays: starts of one size part only along their trajectories."""
    split = Dynamics(
        lambda s, _: s * 1.0 + (s[:, 1:] > 0) * s * s.new_tensor([1.0, 0]) - (s[:, 1:] <= 0) * s / 2, dim=2
    )
    angle = rng.uniform(0.2, np.pi - 0.2, 60)
    up = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = distribution_score(split, [[0.0, 0.0]], -up, up, training=TRAINING, others={}, steps=10, draws=199)
    assert found.auroc[0] == 1 and found.fpr95[0] == 0
    assert found.auroc[1] == pytest.approx(0.5, abs=0.05)  # all at distance 1, to rounding
    assert found.nulls[0].p == pytest.approx(1 / 200)


def test_the_same_distribution_on_both_sides_is_not_told_from_chance():
    found = score(outside=rng.normal(0, 1, (60, 2)))
    assert not found.nulls[0].beaten and found.auroc_intervals[0, 0] < 0.5 < found.auroc_intervals[0, 1]


def test_a_trajectory_that_overflows_scores_infinity_and_one_input_a_side_is_enough():
    found = score(linear(1e60 * np.eye(2)), inside=[[0.0, 0.0]], outside=[[1.0, 0.0]])
    assert found.inside[0].tolist() == [0] and found.outside[0].tolist() == [np.inf] and found.auroc[0] == 1


def test_refusals():
    with pytest.raises(InputError, match="but 1, 0, 60 and 300 came"):
        score(inside=np.zeros((0, 2)))
    with pytest.raises(
        InputError, match=r"scores 'error' are \(80,\) and \(60,\) numbers, but \(3,\) and \(60,\) came"
    ):
        score(others={"error": (np.zeros(3), np.zeros(60))})
    with pytest.raises(InputError, match="60 and 300 came"):
        score(neighbours=301)
