import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import Certificates, certify
from analyses.maps.fixed_points import find_fixed_points
from case_studies.flip_flop_memory import shipped
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import LeakyRate, recurrent


def bits(count):
    return Dynamics(lambda x, _: torch.tanh(2 * x), dim=count, name="bits")


def true_root():
    with mpmath.workdps(50):
        return mpmath.findroot(lambda x: mpmath.tanh(2 * x) - x, 0.95)


def test_the_true_root_in_fifty_digits_lies_in_the_ball():
    found = find_fixed_points(bits(1), [[0.9]])
    proofs = certify(bits(1), found.points)
    with mpmath.workdps(50):
        assert abs(true_root() - mpmath.mpf(float(found.points[0, 0]))) <= mpmath.mpf(float(proofs.radii[0]))
    assert proofs.radii[0] < 1e-14


def test_uniqueness_stops_before_the_next_root():
    """0 and 0.9575 are roots, so no ball around one that holds the other can be proved unique."""
    proofs = certify(bits(1), [[0.0], [0.9575040240772687]])
    assert (proofs.unique_within < 0.9575).all()
    assert proofs.unstable.tolist() == [1, 0]


@pytest.mark.parametrize("shift", [1e-3, 1e-6, 1e-10])
def test_a_ball_around_a_shifted_point_must_reach_the_root(shift):
    proofs = certify(bits(1), [[0.9575040240772687 + shift]])
    assert not proofs.proved[0] or proofs.radii[0] >= shift


def test_a_point_far_from_any_root_is_not_proved_small():
    proofs = certify(bits(1), [[0.5]])
    assert not proofs.proved[0] or proofs.radii[0] >= 0.45


@pytest.mark.parametrize("kind", ["GRU", "tanh"])
def test_a_mutated_point_or_network_is_refused_within_the_proved_radius(kind):
    """Move a point by ten times its radius, or change one weight by 1e-6: no ball as small as before is proved again, for
    each holds the true point of its own map."""
    module = shipped(kind)
    held = recurrent(module.rnn).hold([0.0, 0.0, 0.0])
    found = find_fixed_points(held, 256)
    proofs = certify(held, found.points)
    assert proofs.proved.all()
    moved = certify(held, found.points + 10 * proofs.radii[:, None])
    assert (moved.radii >= 5 * proofs.radii).all()
    with torch.no_grad():
        module.rnn.weight_hh_l0[0, 0] += 1e-6
    changed = certify(recurrent(module.rnn).hold([0.0, 0.0, 0.0]), found.points)
    assert not (changed.radii <= proofs.radii).any()


def test_a_map_without_fixed_point_gets_no_proof():
    shifted = Dynamics(lambda x, _: torch.tanh(x) + 2.5, dim=1)
    assert not certify(shifted, [[0.0], [1.0]]).proved.any()
    passing = Dynamics(lambda x, _: x + 0.001 + x * x, dim=1)
    assert not certify(passing, [[0.0], [-0.01], [0.03]]).proved.any()


def test_one_point_given_twice_is_seen():
    proofs = certify(bits(1), [[0.0], [1e-16]])
    assert proofs.overlapping == 1
    assert not proofs.checks[0].passed


@pytest.mark.parametrize(
    "make",
    [
        lambda: recurrent(nn.RNN(2, 6)),
        lambda: recurrent(nn.RNN(2, 4, nonlinearity="relu")),
        lambda: recurrent(nn.GRU(2, 5, num_layers=2)),
        lambda: recurrent(nn.LSTM(2, 4)),
        lambda: LeakyRate(torch.randn(5, 5), torch.randn(5, 2), torch.randn(5), torch.tensor(0.3)).dynamics(),
        lambda: LeakyRate(
            torch.randn(5, 5), torch.randn(5, 2), torch.randn(5), torch.tensor(0.3), "sigmoid"
        ).dynamics(),
    ],
)
def test_every_cell_kind_is_certified_and_counted_like_its_eigenvalues(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        dynamics = make().hold([0.2, -0.1])
    found = find_fixed_points(dynamics, 64, around=(-1.0, 1.0))
    proofs = certify(dynamics, found.points)
    assert len(found.points) >= 1 and proofs.proved.all()
    assert (proofs.unstable == (np.abs(found.eigenvalues) > 1).sum(axis=1)).all()
    assert proofs.radii.max() < 1e-11


def test_a_multiplier_on_the_circle_is_left_open():
    """A rotation's fixed point exists, but its eigenvalues lie on the circle: stability is not proved either way."""
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    rotation = Dynamics(lambda x, _: nn.functional.linear(x, turn), dim=2)
    proofs = certify(rotation, [[0.0, 0.0]])
    assert proofs.proved.all() and proofs.unstable.tolist() == [-1]


def test_an_unknown_operation_is_a_reason_not_a_crash():
    proofs = certify(Dynamics(lambda x, _: torch.atan(x), dim=1), [[0.0]])
    assert not proofs.proved.any() and "'atan'" in proofs.reasons[0]
    assert "0 of 1 fixed points proved" in proofs.summary()


def test_all_states_and_times_together_are_refused():
    with pytest.raises(InputError, match="need no times="):
        certify(bits(1), np.zeros((1, 2, 1)), times=2)


def test_no_points_and_round_trip():
    assert certify(bits(2), np.zeros((0, 2))).radii.shape == (0,)
    proofs = certify(bits(1), [[0.0]])
    again = Certificates.from_dict(proofs.to_dict())
    assert again.reasons == proofs.reasons and np.array_equal(again.radii, proofs.radii)
    assert proofs.plot().get_ylabel()
