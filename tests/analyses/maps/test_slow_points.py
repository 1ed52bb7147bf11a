import math

import numpy as np
import pytest
import torch

import interp
from analyses.maps.slow_points import SlowPoints, find_slow_points
from analyses.result import Outcome
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from tests.known import linear, rolled_tanh

M = 1e-4


def ghost(m=M, bend=1.0):
    """x' = x + m + bend x^2: no fixed point for m > 0; slowest at 0, speed m, complex roots at +-i sqrt(m / bend)."""
    return Dynamics(lambda x, _: x + m + bend * x**2, dim=1, name="ghost")


def test_ghost_of_a_fold_is_slowest_where_its_two_roots_met():
    found = find_slow_points(ghost(), 32, around=(-1.0, 1.0))
    assert found.landed.tolist() == [0] * 32 and found.hits.tolist() == [32]
    assert np.abs(found.points).max() < 1e-8  # where q is flat to rounding: sqrt(eps) m / sqrt(m)
    assert found.speeds[0] == pytest.approx(M, rel=1e-12)
    assert found.gradients[0] < 1e-12  # q' = 2 m x
    assert found.curvatures[0] == pytest.approx(2 * M, rel=1e-6)  # q'' = 2 m + 6 x^2; central differences
    assert found.eigenvalues[0, 0] == pytest.approx(1, abs=1e-7) and found.near_one.tolist() == [1]
    assert found.checks[0].passed


@pytest.mark.parametrize(("m", "bend"), [(1e-4, 1.0), (1e-4, 4.0), (1e-6, 1.0)])
def test_ghost_says_how_far_its_complex_roots_are_and_how_long_a_passage_takes(m, bend):
    found = find_slow_points(ghost(m, bend), 8, around=(-1.0, 1.0))
    assert found.root_distances[0] == pytest.approx(math.sqrt(m / bend), rel=1e-6)
    assert found.passage_times[0] == pytest.approx(math.pi / math.sqrt(m * bend), rel=1e-6)  # Strogatz, section 4.3
    assert found.newton_steps[0] > 1e3 * found.root_distances[0]  # A is singular: no root is near


def test_passage_time_is_what_a_rollout_takes():
    path = rollout(ghost(), [[-0.5]], steps=400).states[0, :, 0]
    taken = int((path < 0.5).sum())
    predicted = find_slow_points(ghost(), 8, around=(-1.0, 1.0)).passage_times[0]
    assert taken == pytest.approx(predicted - 4, rel=0.01)  # the tails beyond +-0.5 take 2 steps each, 1 / 0.5


def test_passage_time_does_not_depend_on_the_coordinates():
    """The ghost beside a contracting direction, in sheared coordinates: the speed changes, the time does not."""
    S = torch.tensor([[1.0, 0.8], [0.3, 2.0]], dtype=torch.float64)
    back = torch.linalg.inv(S)

    def step(y, _):
        x = y @ back.T
        return torch.stack([x[:, 0] + M + x[:, 0] ** 2, 0.5 * x[:, 1]], dim=1) @ S.T

    found = find_slow_points(Dynamics(step, dim=2), 16, around=(-0.3, 0.3))
    assert len(found.points) == 1
    assert found.passage_times[0] == pytest.approx(math.pi / math.sqrt(M), rel=1e-4)  # off by O(m)
    x = back.numpy() @ found.points[0]
    assert abs(x[0]) < 1e-3


def test_each_start_goes_to_its_own_kind():
    """x' = x + g(x), g = (x^2 + m)(x - 2): a ghost at 0 and a true (repelling) fixed point at 2."""
    both = Dynamics(lambda x, _: x + (x**2 + M) * (x - 2), dim=1)
    found = find_slow_points(both, [[0.1], [-0.2], [1.9], [2.2]])
    assert found.landed.tolist() == [0, 0, -1, -1]
    assert found.outcomes == (Outcome.STUCK,) * 2 + (Outcome.CONVERGED,) * 2
    assert "2 of 4 starts ended on 1 slow point" in found.summary() and "2 on fixed points" in found.summary()


def test_fast_minimum_is_counted_but_not_called_slow():
    found = find_slow_points(ghost(0.3), 8, around=(-1.0, 1.0))
    assert found.points.shape == (0, 1) and (found.landed == -1).all()
    assert "8 where the speed falls no further but is above 0.05" in found.summary()


@pytest.mark.parametrize("dynamics", [linear(np.eye(3)), linear(0.5 * np.eye(2)), linear([[0.0]]), rolled_tanh(2)])
def test_a_map_that_only_rests_has_no_slow_points(dynamics):
    found = find_slow_points(dynamics, 16, around=(-1.0, 1.0))
    assert found.points.shape == (0, dynamics.dim) and found.eigenvalues.shape == (0, dynamics.dim)
    assert found.outcomes == (Outcome.CONVERGED,) * 16


def test_constant_drift_is_slow_everywhere_and_no_ghost():
    found = find_slow_points(Dynamics(lambda x, _: x + 1e-3, dim=1), [[0.0], [0.5]])
    assert len(found.points) == 2 and np.isinf(found.root_distances).all() and (found.curvatures == 0).all()
    assert np.isinf(found.newton_steps).all()
    assert "0 of them ghosts" in found.summary()


def test_minimum_at_a_kink_keeps_its_slope_as_its_doubt():
    """x' = x + m + |x|: slowest at the kink 0, where the slope of q is m on either side; the check says so."""
    found = find_slow_points(Dynamics(lambda x, _: x + 1e-3 + 0.5 * x.abs(), dim=1), [[0.3]])
    assert found.speeds[0] == pytest.approx(1e-3, rel=1e-3) and found.gradients[0] > 1e-4
    assert not found.checks[0].passed


def test_driving_one_bit_of_a_trained_flip_flop_past_its_fold_leaves_a_ghost_for_each_state_of_the_other_two():
    """27 points at rest; the drive removes the nine pairs in which the first bit's memory meets its saddle: 3 x 3 ghosts."""
    network = interp.load("case_studies/weights/flip_flop_gru.safetensors").dynamics()
    found = find_slow_points(network.hold([0.08, 0.0, 0.0]), 256)
    assert len(found.points) == 9 and (found.near_one == 1).all()
    assert found.checks[0].passed and (found.curvatures > 0).all()
    assert np.isfinite(found.passage_times).all()


def test_no_starts_and_refusals():
    assert find_slow_points(ghost(), np.zeros((0, 1))).points.shape == (0, 1)
    with pytest.raises(InputError, match="speed 1e-12 is not above tolerance 1e-10"):
        find_slow_points(ghost(), [[0.0]], speed=1e-12)
    with pytest.raises(InputError, match="no known trapping box"):
        find_slow_points(ghost(), 8)
    with pytest.raises(DrivenError, match="find_slow_points needs one map"):
        find_slow_points(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [[0.0]])


def test_equal_calls_are_equal_and_an_interrupted_search_says_so():
    one, two = (find_slow_points(ghost(), 8, around=(-1.0, 1.0)) for _ in range(2))
    assert np.array_equal(one.points, two.points)
    stopped = find_slow_points(ghost(), 8, around=(-1.0, 1.0), watch=lambda states, total: iter(()))
    assert stopped.outcomes == (Outcome.OUT_OF_TIME,) * 8 and len(stopped.points) == 0


def test_result_survives_writing_and_draws():
    found = find_slow_points(ghost(), 8, around=(-1.0, 1.0))
    again = SlowPoints.from_dict(found.to_dict())
    assert np.array_equal(again.points, found.points) and again.outcomes == found.outcomes
    assert found.plot().get_ylabel() == "speed per step"
