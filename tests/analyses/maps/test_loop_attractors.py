import itertools

import numpy as np
import pytest
import torch

from analyses.maps.loop_attractors import loop_attractors
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear

P = 0.9575040240772687  # root of x = tanh(2 x)


def bit(sign=1.0):
    """x' = tanh(2 x): attractors at P and -P; with sign -1 a stable two-cycle between them."""
    return Dynamics(lambda x, _: sign * torch.tanh(2 * x), dim=1, name="a bit")


def wells():
    """x' = x - 0.4 sin(2 pi x) / (2 pi): attractors at the integers, slope 1 - 0.4 there; half-integers repel."""
    return Dynamics(lambda x, _: x - 0.4 * torch.sin(2 * np.pi * x) / (2 * np.pi), dim=1)


def stopped(states, total):
    return iter(())


def specimens():
    return [
        loop_attractors(bit(), [[0.5], [-0.2]], noise=[[2.0]]),
        loop_attractors(linear([[2.0]]), [[1.0]], steps=20, watch=stopped),
    ]


def test_a_bit_has_two_attractors_and_data_and_noise_are_told_apart():
    found = loop_attractors(bit(), [[0.5], [0.1]], noise=[[2.0], [-1.0]])
    assert found.points[:, 0] == pytest.approx([P, -P], abs=1e-12)  # polished to rounding
    assert found.labels.tolist() == [0, 0, 0, 1] and found.hits.tolist() == [[2, 1], [0, 1]]
    assert found.counts.tolist() == [1, 2] and found.shares.tolist() == [1, 0, 0]
    # 2 (1 - P^2), the slope of tanh(2 x) at its rests
    assert found.spectral_radii == pytest.approx([2 * (1 - P**2)] * 2, abs=1e-10)
    # from {P} to {P, -P} the distance is 0; back it is 0 and 2 P; the mean of the two means is P / 2
    assert found.chamfer == pytest.approx(P / 2, abs=1e-12)
    assert "4 of 4 starts converged onto 2 attractors (1 from data, 2 from noise, 1 from both)" in found.summary()


def test_intervals_of_basins_are_clopper_and_pearsons():
    found = loop_attractors(bit(), np.full((10, 1), 0.5))
    assert found.basin_intervals()[0] == pytest.approx([0.025**0.1, 1.0], abs=1e-12)  # 10 of 10, closed form
    assert found.basin_intervals(1).shape == (0, 2)


def test_attractors_in_one_direction_are_one_by_cosine_and_three_by_distance():
    found = loop_attractors(wells(), [[0.9], [2.2], [3.1]])
    assert sorted(found.points[:, 0].round(9)) == [1, 2, 3] and found.spectral_radii == pytest.approx([0.6] * 3)
    assert found.cosine_counts.tolist() == [1, 0]


def test_one_attractor_at_zero_is_many_by_cosine():
    starts = [list(corner) for corner in itertools.product((1.0, -1.0), repeat=2)]
    found = loop_attractors(linear(0.5 * np.eye(2)), starts)
    assert len(found.points) == 1 and found.cosine_counts.tolist() == [4, 0]  # it is approached from four sides


def test_a_slow_passage_stops_the_published_rule_and_is_no_attractor():
    """x' = x + x^2 + 1e-4 has no rest; its step is 1e-4 at 0, so that the rule, 1e-3, is met on the way to infinity."""
    ghost = Dynamics(lambda x, _: x + x**2 + 1e-4, dim=1)
    found = loop_attractors(ghost, [[-0.5]])
    assert found.stopped[0] > 0 and found.cosine_counts[0] == 1
    assert found.outcomes == (Outcome.DIVERGED,) and len(found.points) == 0
    assert found.shares.tolist() == [0, 1, 0]


def test_a_cycle_is_undecided_with_its_period():
    found = loop_attractors(bit(-1.0), [[0.5], [0.0]])
    assert found.outcomes == (Outcome.OUT_OF_STEPS, Outcome.CONVERGED)  # 0 is a rest, and repels
    assert found.periods.tolist() == [2, 0] and found.stable.tolist() == [False]
    assert found.strides[0] == pytest.approx(2 * P, abs=1e-9)
    assert "1 ran out of steps, 1 of them on a cycle of period 2, still moving by 1.9 a step" in found.summary()


def test_growth_is_divergence_and_a_rest_that_repels_is_no_attractor():
    found = loop_attractors(linear([[2.0]]), [[1.0], [0.0]])
    assert found.outcomes == (Outcome.DIVERGED, Outcome.CONVERGED)
    assert found.counts.tolist() == [0, 0] and "onto 0 attractors; 1 of the rests attract nothing" in found.summary()


def test_the_identity_rests_everywhere_and_attracts_nowhere():
    found = loop_attractors(linear(np.eye(2)), [[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    assert len(found.points) == 3 and not found.stable.any()
    assert np.isnan(found.chamfer)


def test_two_starts_in_one_call_end_as_each_does_alone():
    starts = np.random.default_rng(0).normal(0, 2, (40, 1))
    together = loop_attractors(wells(), starts)
    for start, label in zip(starts, together.labels, strict=True):
        alone = loop_attractors(wells(), start)
        assert alone.points[0, 0] == pytest.approx(together.points[label, 0], abs=1e-9)


def test_out_of_time_no_starts_and_refusals():
    assert loop_attractors(bit(), [[0.5]], watch=stopped).outcomes == (Outcome.OUT_OF_TIME,)
    none = loop_attractors(bit(), np.zeros((0, 1)))
    assert none.points.shape == (0, 1) and none.summary() == "0 of 0 starts converged" and np.isnan(none.chamfer)
    with pytest.raises(InputError, match="steps=0"):
        loop_attractors(bit(), [[0.5]], steps=0)
    with pytest.raises(InputError, match=r"\(batch, 1\)"):
        loop_attractors(bit(), [[0.5, 1.0]])
    with pytest.raises(DrivenError, match=r"dynamics.hold\(drive\)"):
        loop_attractors(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [[0.5]])
