import numpy as np
import pytest
import torch

from analyses.maps._forcing import norm_estimates, parameter_bound, strength_for
from analyses.maps.forcing_strength import ESTIMATORS, forcing_strength
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear


def specimens():
    return [
        forcing_strength(linear([[2.0]]), np.zeros((4, 1)), bound=3.0),
        forcing_strength(linear([[2.0]]), np.zeros((0, 1))),
    ]


def gain():
    return Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1, name="gain")


def test_every_estimate_of_a_doubling_is_two():
    found = forcing_strength(linear(2 * np.eye(3)), np.zeros((5, 3)), bound=2.0)
    assert found.norms == pytest.approx([2, 2, 2, 2]) and found.strengths == pytest.approx([0.5] * 4)
    assert found.strength == pytest.approx(0.5) and found.every_step and all(check.passed for check in found.checks)


def test_the_estimates_part_where_steps_differ():
    """Slopes 4, 1 and -4, -1 in two runs: largest 4; geometric mean 2; mean 2.5."""
    drives = np.array([[[4.0], [1.0]], [[-4.0], [-1.0]]])
    found = forcing_strength(gain(), np.ones((2, 2, 1)), drives=drives)
    assert found.norms[1:] == pytest.approx([4, 2, 2.5]) and np.isnan(found.norms[0])
    assert found.strengths[1:] == pytest.approx([0.75, 0.5, 0.6])
    # at 0.5 the product over a run is 1 at most, though its first step still doubles
    assert found.chosen == "geometric mean" and not found.every_step
    assert "single steps still expand" in found.summary()
    assert forcing_strength(gain(), np.ones((2, 2, 1)), drives=drives, estimator="largest").every_step


def test_the_run_with_the_largest_mean_counts_and_signs_cancel_in_the_mean_jacobian():
    runs = [np.array([[[3.0]], [[-3.0]]]), np.array([[[1.0]]]), np.zeros((0, 1, 1))]
    assert norm_estimates(runs) == pytest.approx((3.0, 3.0, 1.0))


def test_a_contraction_and_a_zero_map_need_no_forcing():
    assert forcing_strength(linear(0.5 * np.eye(2)), np.zeros((3, 2))).strength == 0
    assert forcing_strength(linear([[0.0]]), np.zeros((3, 1))).strength == 0
    assert [strength_for(norm) for norm in (0.0, 1.0, 2.0, np.inf)] == [0, 0, 0.5, 1]


def test_the_parameter_bound_holds_everywhere():
    draw = torch.Generator().manual_seed(0)
    A, W1, W2, h2 = (torch.randn(*s, generator=draw, dtype=torch.float64) for s in ((3,), (3, 20), (20, 3), (20,)))
    network = Dynamics(lambda z, _: A * z + torch.relu(z @ W2.T + h2) @ W1.T, dim=3)
    bound = parameter_bound(A.numpy(), W1.numpy(), W2.numpy())
    states = torch.randn(200, 3, generator=draw, dtype=torch.float64).numpy()
    found = forcing_strength(network, states, bound=bound, estimator="parameters")
    assert found.norms[0] == bound >= found.norms[1] and found.checks[1].passed
    assert not forcing_strength(network, states, bound=float(found.norms[1]) / 2).checks[1].passed


def test_no_states_and_refusals():
    assert forcing_strength(linear([[2.0]]), np.zeros((0, 1))).summary() == "0 states read, so no forcing strength"
    with pytest.raises(InputError, match="takes its norm from bound=, and none came"):
        forcing_strength(linear([[2.0]]), np.zeros((1, 1)), estimator="parameters")
    with pytest.raises(DrivenError, match="without drives"):
        forcing_strength(gain(), np.ones((2, 1)))
    assert len(ESTIMATORS) == 4
