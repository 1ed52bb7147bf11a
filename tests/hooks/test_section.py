import math

import pytest
import torch

from analyses.maps.certificates import certify
from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.stability import classify
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent
from hooks.section import return_map

TURN, PULL = 0.01, 0.02  # radians a step; share of the distance from the circle that is lost a step


def spiral():
    """Polar r' = r + PULL (1 - r), angle + TURN: an attracting circle that no k-cycle lies on (TURN / 2 pi is irrational)."""

    def step(x, _):
        r = x.norm(dim=1, keepdim=True)
        R = torch.tensor([[math.cos(TURN), math.sin(TURN)], [-math.sin(TURN), math.cos(TURN)]], dtype=torch.float64)
        return (x @ R) * ((r + PULL * (1 - r)) / r)

    return Dynamics(step, dim=2, name="spiral")


def test_the_circle_is_a_fixed_point_of_the_return_map_with_its_floquet_multiplier():
    """A chord cuts the corner of an arc of TURN, so the crossing lies at cos(TURN / 2) to 1 of the centre; the multiplier
    is (1 - PULL)^(2 pi / TURN) = 3e-6 up to one step more or less."""
    section = return_map(spiral(), normal=[0.0, 1.0], origin=[0.0, 0.0])
    found = find_fixed_points(section, [[1.3, 0.0], [0.8, 0.0]])
    assert len(found.points) == 1 and found.stable.all()
    x, y = found.points[0]
    assert math.cos(TURN / 2) - 1e-9 <= x <= 1 and abs(y) < 1e-12
    assert abs(found.eigenvalues[0]).max() < 2 * (1 - PULL) ** (2 * math.pi / TURN - 1)
    assert classify(found).kinds[0].startswith("stable")


def test_cycles_of_a_flow_like_map_point_to_the_section():
    cycles = find_cycles(spiral(), [[1.0, 0.2], [0.3, 0.1]], periods=(2, 5))
    assert not len(cycles.periods) and cycles.flow_like
    # a step is TURN long, the spread of points on an arc of 1.28 radians is below that of the whole circle, 1
    assert TURN < cycles.stride < 10 * TURN
    assert "take a return map" in cycles.summary()


def test_a_state_that_never_returns_is_nan_and_no_root():
    escaping = Dynamics(lambda x, _: x + 1.0, dim=1)
    section = return_map(escaping, normal=[1.0], origin=[0.0], most=20)
    assert torch.isnan(section(torch.zeros(1, 1, dtype=torch.float64))).all()
    found = find_fixed_points(section, [[0.0]])
    assert found.points.shape == (0, 1)


def test_a_return_map_is_another_map_and_carries_no_weights():
    gru = recurrent(torch.nn.GRU(1, 1, 2)).hold([0.0])
    section = return_map(gru, normal=[1.0, 0.0], origin=[0.0, 0.0])
    assert gru.layers == (0, 1) and section.layers == () and not section.flow
    assert section.fingerprint not in ("", gru.fingerprint) and section.weights == {}
    assert section.fingerprint != return_map(gru, normal=[0.0, 1.0], origin=[0.0, 0.0]).fingerprint


def test_what_is_refused():
    with pytest.raises(DrivenError, match="return_map needs one map"):
        return_map(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), normal=[1.0], origin=[0.0])
    with pytest.raises(InputError, match="states of 'spiral'"):
        return_map(spiral(), normal=[1.0], origin=[0.0, 0.0])
    proofs = certify(return_map(spiral(), normal=[0.0, 1.0], origin=[0.0, 0.0]), [[1.0, 0.0]])
    assert not proofs.proved.any() and "known" in proofs.reasons[0]
