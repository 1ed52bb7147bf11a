import math
from itertools import islice

import numpy as np
import pytest

from analyses.result import Outcome
from analyses.trajectories._stream_profiles import STATISTICS
from analyses.trajectories.residual_stream import residual_stream
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def over_depth(states, **labels):
    return Trajectory(states, "layer", labels=labels)


def walks(runs, sites, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((runs, sites, dim)).cumsum(axis=1)


def number(found, name):
    return found.observed[STATISTICS.index(name)]


def specimens():
    twins = [residual_stream(over_depth(walks(30, 5, 4, seed)), draws=0) for seed in range(1, 4)]
    return [
        residual_stream(over_depth(walks(30, 5, 4)), twins=twins, draws=5),
        residual_stream(over_depth(np.ones((1, 4, 1)))),
    ]


def test_a_walk_is_as_continuous_as_the_square_root_says():
    # independent increments: correlation sqrt(l / (l + 1)) between sites l and l + 1 (the first site is the first increment)
    found = residual_stream(over_depth(walks(1000, 16, 20)), draws=0)
    l = np.arange(1, 16)  # noqa: E741, the site
    assert found.correlations == pytest.approx(np.sqrt(l / (l + 1)), abs=4 * 0.5 / np.sqrt(1000 * 20))
    assert found.bends == pytest.approx(np.zeros(14), abs=4 / np.sqrt(1000 * 20))
    length = np.sqrt(2) * math.gamma(10.5) / math.gamma(10)  # mean norm of 20 standard normal numbers
    assert found.norms == pytest.approx(length * np.sqrt(np.arange(1, 17)), rel=4 * 0.16 / np.sqrt(1000))
    assert found.participation_ratios == pytest.approx(np.full(16, 20 / (1 + 20 / 1000)), rel=0.03)  # of 1000 points


def test_a_straight_path_a_circle_and_exponential_growth():
    direction = np.random.default_rng(0).standard_normal((3, 1, 6))
    straight = residual_stream(over_depth(np.arange(1.0, 6)[None, :, None] * direction), draws=0)
    assert straight.bends == pytest.approx(np.ones(3), abs=1e-12) and straight.cosines == pytest.approx(
        np.ones(4), abs=1e-12
    )
    assert straight.accelerations == pytest.approx(np.zeros(3), abs=1e-12)
    angle = 2 * np.pi * np.arange(12) / 12
    circle = residual_stream(over_depth(np.stack([np.cos(angle), np.sin(angle)], axis=1)[None]), draws=0)
    assert circle.cosines == pytest.approx(np.full(11, np.cos(np.pi / 6)), abs=1e-12)
    assert circle.bends == pytest.approx(np.full(10, np.cos(np.pi / 6)), abs=1e-12)  # the chord turns with the angle
    assert circle.velocities == pytest.approx(np.full(11, 2 * np.sin(np.pi / 12)), abs=1e-12)
    grown = residual_stream(over_depth(1.3 ** np.arange(8)[None, :, None] * direction), draws=0)
    for name in ("growth of the norm", "growth of the velocity"):
        assert number(grown, name) == pytest.approx(np.log(1.3), abs=1e-12)
    assert number(grown, "growth of the participation ratio") == pytest.approx(0, abs=1e-12)
    assert grown.relative_velocities == pytest.approx(np.full(7, 0.3), abs=1e-12)


def test_density_is_one_for_equal_entries_and_the_share_of_those_that_are_not_zero():
    states = np.zeros((2, 3, 8))
    states[:, 0, :2], states[:, 1, :4], states[:, 2] = 1.0, -3.0, 2.0
    assert residual_stream(over_depth(states), draws=0).densities == pytest.approx([2 / 8, 4 / 8, 1.0], abs=1e-12)


def test_a_collapsing_cloud_loses_its_spread_within_each_text():
    rng = np.random.default_rng(0)
    centres, tokens = rng.standard_normal((4, 1, 1, 6)) * 9, rng.standard_normal((4, 5, 1, 6))
    tokens -= tokens.mean(axis=1, keepdims=True)
    states = centres + tokens * 0.5 ** np.arange(7)[:, None]
    found = residual_stream(over_depth(states.reshape(20, 7, 6), text=np.repeat(np.arange(4), 5)), draws=0)
    inner = (tokens**2).sum(axis=-1).mean(axis=(1, 2))[:, None] * 0.25 ** np.arange(7)
    outer = (centres**2).sum(axis=-1)[:, 0]
    assert found.spreads == pytest.approx((inner / (inner + outer)).mean(axis=0), abs=1e-12)


def test_information_of_gaussian_units_is_the_closed_form_and_that_of_independent_ones_zero():
    # - log(1 - r^2) / 2 for correlation r; 63 bins a side at 20 000 runs, five a cell: bins lose at most some hundredths here
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 20_000, 1, 3))
    states = np.concatenate([x, 0.8 * x + 0.6 * y, rng.standard_normal((20_000, 1, 3))], axis=1)
    found = residual_stream(over_depth(states), draws=0).mutual_information
    assert found == pytest.approx([-np.log(1 - 0.64) / 2, 0.0], abs=0.04)
    # ranks alone count
    bent = residual_stream(over_depth(np.exp(states)), draws=0).mutual_information
    assert bent == pytest.approx(found, abs=1e-12)


def test_a_walk_does_not_beat_its_nulls_beyond_their_level():
    # 20 walks, 22 nulls each, all p uniform: a share above 0.1 has probability below 0.01 (numbers depend)
    beaten = []
    for seed in range(20):
        found = residual_stream(over_depth(walks(24, 8, 12, seed)), draws=19)
        beaten += [null.beaten for null in found.nulls]
    assert np.mean(beaten) <= 0.1


def test_positions_of_a_text_share_a_draw_so_that_more_of_them_say_no_more():
    texts = walks(6, 8, 12)
    once = residual_stream(over_depth(texts), draws=49)
    many = residual_stream(over_depth(np.repeat(texts, 7, axis=0), text=np.repeat(np.arange(6), 7)), draws=49)
    for name in ("bend", "growth of the norm", "cosine of successive sites"):
        assert number(many, name) == pytest.approx(number(once, name), abs=1e-12)
        drawn = {null.name: null.draws for null in many.nulls if null.statistic == name}
        for null in once.nulls:  # the same draws, since the generator draws once a text
            if null.statistic == name:
                assert drawn[null.name] == pytest.approx(null.draws, abs=1e-10)
    row = STATISTICS.index("bend")
    assert many.standard_errors[row] == pytest.approx(once.standard_errors[row], rel=1e-9)


def test_a_stream_that_turns_slowly_beats_walks_and_twins_and_a_straight_one_not_its_order():
    a, b = np.random.default_rng(3).standard_normal((2, 24, 1, 12))
    angle = np.linspace(0, np.pi, 8)[:, None]
    twins = [residual_stream(over_depth(walks(24, 8, 12, seed)), draws=0) for seed in range(19)]
    noise = 0.1 * walks(24, 8, 12)
    turning = residual_stream(
        over_depth(np.cumsum(a * np.cos(angle) + b * np.sin(angle), axis=1) + noise), twins=twins, draws=19
    )
    assert "bend" in turning.beating and "without random-weight twins" not in turning.summary()
    straight = residual_stream(over_depth(a * np.arange(1, 9)[:, None] + noise), draws=19)
    beaten = {null.name: null.beaten for null in straight.nulls if null.statistic == "bend"}
    assert beaten == {"turned increments": True, "flipped increments": True, "shuffled increments": False}
    assert "without random-weight twins" in straight.summary()


def test_standard_errors_are_those_of_a_mean_over_texts():
    states = walks(400, 6, 10)
    found = residual_stream(over_depth(states), draws=0)
    steps = np.diff(states, axis=1)
    each = (
        (steps[:, 1:] * steps[:, :-1]).sum(2)
        / np.linalg.norm(steps[:, 1:], axis=2)
        / np.linalg.norm(steps[:, :-1], axis=2)
    )
    expected = each.mean(axis=1).std(ddof=1) / np.sqrt(400)
    # 20 groups: the error itself is known to 1 / sqrt(2 x 19) of it
    assert found.standard_errors[STATISTICS.index("bend")] == pytest.approx(expected, rel=4 / np.sqrt(38))


def test_a_budget_that_ends_the_draws_leaves_those_that_were_made():
    cut = residual_stream(over_depth(walks(12, 6, 5)), draws=9, watch=lambda draws, total: islice(draws, 12))
    made = {(null.statistic, null.name): len(null.draws) for null in cut.nulls}
    assert cut.outcome is Outcome.OUT_OF_TIME
    assert made["bend", "turned increments"] == 9 and made["bend", "shuffled increments"] == 3
    assert ("bend", "flipped increments") not in made


def test_one_text_one_unit_and_a_stream_at_rest_give_values_or_nan():
    rest = residual_stream(over_depth(np.ones((3, 4, 2))))
    assert np.isnan(number(rest, "bend")) and number(rest, "growth of the norm") == pytest.approx(0)
    assert all(check.passed for check in rest.checks) and "0 of 9 statistics" in rest.summary()
    one = residual_stream(over_depth(walks(1, 5, 1)), draws=3)
    assert np.isnan(one.correlations).all() and np.isnan(one.standard_errors).all()


def test_refusals():
    with pytest.raises(InputError, match="residual_stream takes runs over depth"):
        residual_stream(Trajectory(walks(2, 5, 3)))
    ragged = Trajectory(walks(2, 5, 3), "layer", lengths=np.array([5, 2]))
    with pytest.raises(InputError, match="3 states of padding"):
        residual_stream(ragged)
    with pytest.raises(InputError, match="the label 'text' has one value a run"):
        residual_stream(over_depth(walks(2, 5, 3), text=np.zeros((2, 5))))
    with pytest.raises(InputError, match="a twin has"):
        residual_stream(over_depth(walks(2, 5, 3)), twins=[residual_stream(over_depth(walks(2, 6, 3)), draws=0)])
