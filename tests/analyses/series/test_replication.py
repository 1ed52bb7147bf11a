"""Counts over networks against binomial tails, and means against Student's interval."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from analyses.series.replication import Replication, replication
from hooks.errors import InputError

NAMES = {
    "networks": [f"seed {n}" for n in range(5)],
    "checkpoints": ["step0", "step9"],
    "statistics": ["turns", "growth"],
}


def found_in(late: int) -> Replication:
    """Turns found in so many of five networks at the end; growth nowhere."""
    values = np.random.default_rng(0).normal([1.0, 3.0], 0.1, (5, 2, 2))
    found = np.zeros((5, 2, 2), dtype=bool)
    found[:late, 1, 0] = True
    return replication(values, found, **NAMES)


def specimens() -> list[Replication]:
    empty = replication(np.zeros((0, 0, 0)), np.zeros((0, 0, 0)), networks=(), checkpoints=(), statistics=())
    return [found_in(4), empty]


def test_two_of_five_is_chance_over_two_numbers_and_three_is_not():
    # P(2 or more of 5 at 5 %) = 0.0226, times two numbers 0.045; P(1 or more) = 0.226.
    assert found_in(2).p[1, 0] == pytest.approx(1 - 0.95**5 - 5 * 0.05 * 0.95**4, rel=1e-12)
    assert not found_in(1).replicated.any()
    assert found_in(3).replicated.tolist() == [[False, False], [True, False]]
    assert "turns" in found_in(3).summary() and "since step9" in found_in(3).summary()
    assert (
        found_in(0)
        .summary()
        .startswith("0 of 2 numbers found in more networks than chance, 5 networks at 2 checkpoints")
    )


def test_the_interval_is_students():
    one = found_in(0)
    low, high = ttest_1samp(one.values[:, 1, 0], 0.0).confidence_interval(0.95)
    assert (one.means[1, 0] - one.halves[1, 0], one.means[1, 0] + one.halves[1, 0]) == pytest.approx(
        (low, high), rel=1e-9
    )


def test_what_was_not_measured_counts_for_nothing():
    values = np.full((5, 2, 2), np.nan)
    values[0] = 1.0
    lone = replication(values, np.ones((5, 2, 2)), **NAMES)
    assert lone.measured.tolist() == [[1, 1], [1, 1]] and np.isnan(lone.halves).all()
    assert lone.found.sum() == 4 and not lone.replicated.any()  # p = 0.05 of two numbers


def test_shapes_and_rates_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="networks, checkpoints, statistics"):
        replication(np.zeros((1, 2, 2)), np.zeros((5, 2, 2)), **NAMES)
    with pytest.raises(InputError, match="rate"):
        replication(np.zeros((5, 2, 2)), np.zeros((5, 2, 2)), rate=0.0, **NAMES)
