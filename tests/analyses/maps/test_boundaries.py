import numpy as np
import pytest
import torch

from analyses.maps.basins import basins
from analyses.maps.boundaries import EdgeState, Separatrix, edge_state, separatrix
from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Outcome
from case_studies.flip_flop_memory import shipped
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent
from tests.known import linear

P = 0.9575040240772687  # root of x = tanh(2 x)
BITS = Dynamics(lambda x, _: torch.tanh(2 * x), dim=2, name="two bits")
CORNERS = [np.array([[a * P, b * P]]) for a in (1, -1) for b in (1, -1)]


def bent(c):
    """Two bits in the coordinates X = x + c y^2, Y = y: the boundary x = 0 becomes the parabola X = c Y^2."""

    def step(s, _):
        x, y = torch.tanh(2 * (s[:, 0] - c * s[:, 1] ** 2)), torch.tanh(2 * s[:, 1])
        return torch.stack([x + c * y**2, y], dim=1)

    return Dynamics(step, dim=2, name="bent bits"), [corner + np.array([[c * P**2, 0.0]]) for corner in CORNERS]


@pytest.mark.parametrize(("first", "second"), [([P, P], [-P, P]), ([0.3, 0.2], [-0.5, 0.7])])
def test_edge_between_two_bits_that_share_the_other(first, second):
    result = edge_state(BITS, first, second, attractors=CORNERS)
    np.testing.assert_allclose(result.states, [[0.0, P]], atol=1e-14)
    np.testing.assert_allclose(result.eigenvalues, [2.0, 2 * (1 - P**2)], rtol=1e-12)
    assert (
        result.sides == (0, 2) and result.outcome is Outcome.CONVERGED and all(check.passed for check in result.checks)
    )
    assert "1 edge state, a saddle between attractors 0 and 2" in result.summary()


def test_edge_is_carried_along_by_a_bend_of_the_coordinates():
    dynamics, memories = bent(0.4)
    result = edge_state(dynamics, memories[0][0], memories[2][0], attractors=memories)
    np.testing.assert_allclose(result.states, [[0.4 * P**2, P]], atol=1e-14)
    on_boundary = result.track[:, 0] - 0.4 * result.track[:, 1] ** 2
    assert np.abs(on_boundary).max() < 1e-5  # brackets are let grow to 1e-6 of the length, about 2


def test_third_basin_in_between_is_named():
    result = edge_state(BITS, [P, P], [-0.9, -0.5], attractors=CORNERS)  # the line meets y = 0 after x = 0
    assert result.sides == (0, 2)


def test_alternating_memories_are_parted_by_a_saddle_cycle():
    """x' = -tanh(2 x): memories (p, p), (-p, -p) and (p, -p), (-p, p); on the axis between them (0, p), (0, -p)."""
    flip = Dynamics(lambda x, _: -torch.tanh(2 * x), dim=2)
    memories = [[[P, P], [-P, -P]], [[P, -P], [-P, P]]]
    result = edge_state(flip, [0.3, 0.2], [-0.5, 0.7], attractors=memories)
    np.testing.assert_allclose(np.sort(result.states[:, 1]), [-P, P], atol=1e-14)
    np.testing.assert_allclose(result.states[:, 0], 0, atol=1e-14)
    np.testing.assert_allclose(np.abs(result.eigenvalues), [4.0, (2 * (1 - P**2)) ** 2], rtol=1e-12)
    assert result.unstable == 1 and set(result.sides) == {0, 1}


def test_corner_of_four_basins_is_not_passed_off_as_an_edge():
    result = edge_state(BITS, [P, P], [-P, -P], attractors=CORNERS, rounds=5)
    assert result.unstable == 2 and not result.checks[0].passed
    assert result.summary().startswith("0 edge states: the track rests on a corner")


def test_chaotic_edge_is_reported_as_not_settled():
    """On x = 0 the second coordinate is logistic at r = 4; at x = +-p it is at r = 2 and rests on 1/2."""
    dynamics = Dynamics(
        lambda s, _: torch.stack(
            [torch.tanh(2 * s[:, 0]), (4 - 2 * s[:, 0].abs().clamp(max=P) / P) * s[:, 1] * (1 - s[:, 1])], dim=1
        ),
        dim=2,
    )
    result = edge_state(dynamics, [P, 0.3], [-P, 0.3], attractors=[[[P, 0.5]], [[-P, 0.5]]], rounds=20)
    assert result.states.shape == (0, 2) and result.outcome is Outcome.OUT_OF_STEPS
    assert np.abs(result.track[:, 0]).max() < 1e-5 and np.ptp(result.track[-100:, 1]) > 0.5
    assert "ran out of steps" in result.summary()


def test_edge_refuses_states_with_one_fate_or_none():
    with pytest.raises(InputError, match=r"two different attractors, but 2 came that end on \[0, 0\]"):
        edge_state(BITS, [P, P], [0.1, P], attractors=CORNERS)
    with pytest.raises(InputError, match=r"end on \[0, -1\]"):
        edge_state(BITS, [P, P], [0.0, P], attractors=CORNERS, steps=100)
    with pytest.raises(InputError, match=r"takes a state of attractor 1 to 0\.26"):  # tanh(1) - 1 / 2
        edge_state(BITS, [P, P], [-P, P], attractors=[CORNERS[0], [[-0.5, P]]])
    with pytest.raises(InputError, match="basins need attractors"):
        edge_state(BITS, [P, P], [-P, P], attractors=[])
    with pytest.raises(DrivenError, match="edge_state needs one map"):
        edge_state(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [1.0], [0.0], attractors=[[[0.0]]])


def test_edge_state_stopped_early_says_so():
    result = edge_state(BITS, [P, P], [-P, P], attractors=CORNERS, watch=lambda states, total: iter(()))
    assert result.outcome is Outcome.OUT_OF_TIME and result.track.shape == (0, 2)
    assert result.summary().startswith("0 edge states")


def test_stable_manifold_of_a_bent_saddle_is_the_parabola():
    dynamics, memories = bent(0.4)
    result = separatrix(dynamics, [0.4 * P**2, P], attractors=memories, extent=0.5)
    assert len(result.heights) == 15 and set(result.sides) == {0, 2} and result.checks[0].passed
    X, Y = result.points.T
    # brackets are 1e-10 of the lines, which are an eighth of 1 long
    np.testing.assert_allclose(X, 0.4 * Y**2, atol=2 * result.widths.max())
    # tangent to its eigenspace: the bend grows with the square of the offset
    far, half = np.abs(result.heights)[[-1, -4]]
    offsets = result.offsets[[-1, -4], 0]
    assert far / half == pytest.approx((offsets[0] / offsets[1]) ** 2, rel=0.3)  # next order: a cubic term


def test_separatrix_of_a_product_is_flat_and_in_one_dimension_a_point():
    flat = separatrix(BITS, [0.0, P], attractors=CORNERS)
    assert np.abs(flat.heights).max() <= flat.widths.max()
    bit = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1)
    point = separatrix(bit, [0.0], attractors=[[[P]], [[-P]]])
    assert point.offsets.shape == (1, 0) and abs(point.heights[0]) <= point.widths[0] and point.checks[0].passed


def test_separatrix_where_lines_do_not_cross():
    """The lattice may lie in any direction, here the unstable one itself; a source has nothing on its two sides."""
    result = separatrix(BITS, [0.0, P], attractors=CORNERS, basis=[[1.0, 0.0]], extent=0.3, resolution=5)
    np.testing.assert_allclose(result.points[:, 0], 0, atol=result.widths.max())
    lonely = separatrix(linear([[2.0]]), [0.0], attractors=[[[0.0]]], extent=1.0)
    assert np.isnan(lonely.heights).all() and lonely.summary().startswith("0 of 1 lines")


def test_separatrix_refuses_what_is_not_a_saddle():
    with pytest.raises(InputError, match="with 0 unstable directions"):
        separatrix(BITS, CORNERS[0][0], attractors=CORNERS)
    with pytest.raises(InputError, match="with 2 unstable directions"):
        separatrix(BITS, [0.0, 0.0], attractors=CORNERS)
    with pytest.raises(InputError, match=r"\|F\(x\) - x\| = "):
        separatrix(BITS, [0.01, P], attractors=CORNERS)


def test_edges_of_the_flip_flop_gru_are_among_its_fixed_points():
    """Edge tracking and the search for fixed points share no step but the last polish."""
    dynamics = recurrent(shipped("GRU").rnn).hold(np.zeros(3))
    found = find_fixed_points(dynamics, 256)
    memories = [point[None] for point in found.points[found.stable]]
    saddles = found.points[(np.abs(found.eigenvalues) > 1).sum(1) == 1]
    assert len(basins(dynamics, 64).sizes) == len(memories) == 8
    for other in memories[1:]:
        edge = edge_state(dynamics, memories[0][0], other[0], attractors=memories)
        assert edge.unstable == 1 and np.linalg.norm(saddles - edge.states, axis=1).min() < 1e-8
    surface = separatrix(dynamics, edge.states[0], attractors=memories, resolution=5)
    assert len(surface.heights) == 25 and np.isfinite(surface.heights).all() and surface.checks[0].passed


def test_results_survive_writing():
    edge = edge_state(BITS, [P, P], [-P, P], attractors=CORNERS)
    again = EdgeState.from_dict(edge.to_dict())
    assert again.summary() == edge.summary() and np.array_equal(again.track, edge.track)
    assert edge.plot().get_xlabel() == "step on the boundary"
    surface = separatrix(BITS, [0.0, P], attractors=CORNERS, resolution=3)
    assert np.array_equal(Separatrix.from_dict(surface.to_dict()).points, surface.points)
    assert surface.plot().get_ylabel() == "along the unstable direction"
