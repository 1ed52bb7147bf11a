import numpy as np
import pytest
import torch

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.kicks import MinimalKicks, minimal_kicks
from case_studies.flip_flop_memory import shipped
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent
from tests.known import linear

P = 0.9575040240772687  # root of x = tanh(2 x)
BITS = Dynamics(lambda x, _: torch.tanh(2 * x), dim=2, name="two bits")
CORNERS = [np.array([[a * P, b * P]]) for a in (1, -1) for b in (1, -1)]
SIZE = 1e-8  # relative: minima are accepted at 1 - cosine = 1e-8


def in_coordinates(matrix):
    """Two bits seen as y = A x, and their memories there."""
    A = torch.tensor(matrix, dtype=torch.float64)
    back = torch.linalg.inv(A)
    dynamics = Dynamics(lambda y, _: torch.tanh(2 * y @ back.T) @ A.T, dim=2, name="two bits, other axes")
    return dynamics, [corner @ A.numpy().T for corner in CORNERS]


def test_smallest_kick_of_a_bit_is_its_distance_from_zero():
    result = minimal_kicks(BITS, CORNERS, pairs=[(0, 1), (0, 2), (3, 1)])
    np.testing.assert_allclose(result.sizes, P, rtol=SIZE)
    np.testing.assert_allclose(
        result.kicks, [[0, -P], [-P, 0], [P, 0]], rtol=0, atol=1e-4
    )  # the angle is the root of SIZE
    assert result.local_minima.all() and result.reached.tolist() == [1, 2, 1]
    assert (result.above == 1).all() and (result.below == 0).all() and result.checks[0].passed


def test_any_other_memory_is_as_near_along_either_bit():
    result = minimal_kicks(BITS, CORNERS)
    np.testing.assert_allclose(result.sizes, P, rtol=SIZE)
    assert (result.targets == -1).all() and (result.minima == 2).all()
    # directions within acos(1 / 1.05) of either of two axes: 4 acos(1 / 1.05) / (2 pi) = 0.197; 3 deviations of 400 draws
    assert result.random_share.mean() == pytest.approx(4 * np.arccos(1 / 1.05) / (2 * np.pi), abs=0.06)


def test_turning_the_coordinates_changes_no_size():
    dynamics, memories = in_coordinates([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    result = minimal_kicks(dynamics, memories)
    np.testing.assert_allclose(result.sizes, P, rtol=SIZE)


def test_oblique_boundary_is_met_at_a_right_angle_not_toward_the_saddle():
    """y = A x with A = [[1, s], [0, 1]]: the line x_1 = 0 is y_1 = s y_2, p / sqrt(1 + s^2) from every memory."""
    dynamics, memories = in_coordinates([[1.0, 0.8], [0.0, 1.0]])
    result = minimal_kicks(dynamics, memories, pairs=[(0, 2), (3, 1)])
    np.testing.assert_allclose(result.sizes, P / np.sqrt(1 + 0.8**2), rtol=SIZE)
    normal = np.array([1, -0.8]) / np.sqrt(1 + 0.8**2)
    np.testing.assert_allclose(result.kicks @ normal, [-result.sizes[0], result.sizes[1]], rtol=SIZE)


@pytest.mark.parametrize("c", [0.4, -0.3])
def test_bent_boundary(c):
    """X = x + c y^2, Y = y: the boundary is X = c Y^2; its foot from the memory is the root of a cubic."""

    def step(s, _):
        x, y = torch.tanh(2 * (s[:, 0] - c * s[:, 1] ** 2)), torch.tanh(2 * s[:, 1])
        return torch.stack([x + c * y**2, y], dim=1)

    memories = [corner + np.array([[c * P**2, 0.0]]) for corner in CORNERS]
    X, Y = memories[0][0]
    # d/dt |(c t^2 - X, t - Y)|^2 = 0
    feet = [t.real for t in np.roots([2 * c**2, 0, 1 - 2 * c * X, -Y]) if abs(t.imag) < 1e-12 and t.real > 0]
    nearest = min(np.hypot(c * t**2 - X, t - Y) for t in feet)
    result = minimal_kicks(Dynamics(step, dim=2), memories, pairs=[(0, 2)])
    assert result.sizes[0] == pytest.approx(nearest, rel=SIZE) and result.local_minima.all()


def test_alternating_memory_is_kicked_in_each_phase():
    flip = Dynamics(lambda x, _: -torch.tanh(2 * x), dim=2)
    result = minimal_kicks(flip, [[[P, P], [-P, -P]], [[P, -P], [-P, P]]])
    assert result.sources.tolist() == [0, 0, 1, 1] and result.phases.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(result.sizes, P, rtol=SIZE)


def test_one_dimension():
    bit = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1)
    result = minimal_kicks(bit, [[[P]], [[-P]]], directions=2)
    np.testing.assert_allclose(result.kicks, [[-P], [P]], rtol=SIZE)


def test_memory_across_a_corner_is_as_far_as_the_corner():
    """From (p, p) to (-p, -p) the nearest point is (0, 0), where all four basins meet."""
    result = minimal_kicks(BITS, CORNERS, pairs=[(0, 3)])
    assert 1 - 1e-9 < result.sizes[0] / (np.sqrt(2) * P) < 1.05  # a bound from above: no normal leads into the corner
    assert not result.local_minima[0] and result.minima[0] == 0


def test_no_way_out_is_an_infinite_size():
    alone = minimal_kicks(linear(0.5 * np.eye(2)), [[[0.0, 0.0]]])
    assert np.isinf(alone.sizes).all() and np.isnan(alone.kicks).all() and np.isnan(alone.above).all()
    assert alone.summary() == "0 of 1 kicks found; 1 without a way out up to 2"
    short = minimal_kicks(BITS, CORNERS, pairs=[(0, 1)], largest=0.9)
    assert np.isinf(short.sizes[0]) and short.reached[0] == -1
    assert minimal_kicks(BITS, CORNERS, pairs=[]).kicks.shape == (0, 2)


def test_unstable_escape_is_no_memory():
    """x' = x^2: 0 holds all |x| < 1, beyond lies infinity and no other memory."""
    result = minimal_kicks(Dynamics(lambda x, _: x**2, dim=1), [[[0.0]]], directions=2, largest=3.0)
    assert np.isinf(result.sizes).all()


def test_refusals():
    with pytest.raises(InputError, match="two different ones of 4 memories"):
        minimal_kicks(BITS, CORNERS, pairs=[(0, 0)])
    with pytest.raises(InputError, match="two different ones of 4 memories"):
        minimal_kicks(BITS, CORNERS, pairs=[(4, None)])
    with pytest.raises(InputError, match="directions=0"):
        minimal_kicks(BITS, CORNERS, directions=0)
    with pytest.raises(InputError, match="basins need attractors"):
        minimal_kicks(BITS, [])
    with pytest.raises(InputError, match=r"takes a state of attractor 0 to 0\.26"):  # tanh(1) - 1 / 2
        minimal_kicks(BITS, [[[0.5, P]]], near=0.1)
    with pytest.raises(DrivenError, match="minimal_kicks needs one map"):
        minimal_kicks(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [[[0.0]]])


def test_stopped_before_the_descent_keeps_the_crossings():
    result = minimal_kicks(BITS, CORNERS, pairs=[(0, 1)], watch=lambda states, total: iter(()))
    assert P <= result.sizes[0] < 2 * P and not result.local_minima.any()


@pytest.fixture(scope="module")
def gru():
    module = shipped("GRU")
    dynamics = recurrent(module.rnn, readout=module.readout).hold(np.zeros(3))
    found = find_fixed_points(dynamics, 256)
    return dynamics, found


def test_flip_flop_gru_flips_just_above_the_predicted_kick_and_not_below(gru):
    """All 24 changes of one bit; 100 trials each, from states a thousandth of the kick's size around the memory."""
    dynamics, found = gru
    memories = found.points[found.stable]
    bits = np.sign(dynamics.readout(torch.as_tensor(memories)).numpy())
    changed = (bits[:, None] != bits[None]).sum(axis=2)
    pairs = [(int(a), int(b)) for a, b in np.argwhere(changed == 1)]
    result = minimal_kicks(dynamics, list(memories[:, None]), pairs=pairs, candidates=3)
    assert len(pairs) == 24 and result.local_minima.all() and (result.reached == result.targets).all()
    assert result.above.min() >= 0.95 and result.below.max() <= 0.05
    assert result.random_share.max() <= 0.05  # in 16 dimensions hardly any direction is near the normal
    assert result.checks[0].passed
    # a saddle between the two basins lies on the boundary, so none is nearer than the kick is long
    saddles = found.points[(np.abs(found.eigenvalues) > 1).sum(axis=1) == 1]
    nearest = np.linalg.norm(memories[:, None] - saddles, axis=2).min(axis=1)
    to_any = minimal_kicks(dynamics, list(memories[:, None]), saddles=saddles)
    assert (to_any.sizes <= nearest).all() and to_any.local_minima.all()
    cheapest = [result.sizes[result.sources == memory].min() for memory in range(8)]
    np.testing.assert_allclose(to_any.sizes, cheapest, rtol=1e-6)


def test_flip_flop_tanh_network_holds_its_bits_on_cycles_that_flip_as_predicted():
    dynamics = recurrent(shipped("tanh").rnn).hold(np.zeros(3))
    found = find_cycles(dynamics, 256, periods=(2,))
    memories = [found.orbit(int(i)) for i in np.flatnonzero(found.stable)]
    result = minimal_kicks(dynamics, memories)
    assert len(result.sizes) == 16 and result.local_minima.all()
    assert result.above.min() >= 0.95 and result.below.max() <= 0.05


def test_result_survives_writing():
    result = minimal_kicks(BITS, CORNERS, pairs=[(0, None), (0, 1)])
    again = MinimalKicks.from_dict(result.to_dict())
    assert np.array_equal(again.kicks, result.kicks) and again.summary() == result.summary()
    assert [label.get_text() for label in result.plot().get_xticklabels()] == ["0→any", "0→1"]
