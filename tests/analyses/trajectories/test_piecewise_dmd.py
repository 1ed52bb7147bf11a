import numpy as np
import pytest
import torch

from analyses.trajectories.piecewise_dmd import piecewise_dmd
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import flow
from hooks.trajectory import Trajectory
from tests.known import linear

TURN = np.array([[0.99, 0.1], [-0.1, 0.99]])


def specimens():
    return [
        piecewise_dmd(rollout(linear(TURN), [[1.0, 0.0]], steps=11), pieces=(1, 3), draws=2),
        piecewise_dmd(Trajectory(np.array([[[1.0], [0.0], [0.0], [0.0]]])), pieces=(2,), draws=0),
    ]


def test_one_linear_map_is_one_piece_with_its_eigenvalues():
    found = piecewise_dmd(rollout(linear(TURN), [[1.0, 0.0], [0.0, 2.0]], steps=60), pieces=(1,), draws=0)
    assert found.errors[0] < 1e-12 and found.exact[0] == 0
    assert np.sort_complex(found.eigenvalues[0]) == pytest.approx(np.sort_complex(np.linalg.eigvals(TURN)), abs=1e-12)


def test_maps_that_change_in_time_are_told_by_the_pieces():
    first = rollout(linear(TURN), [[1.0, 0.0]], steps=49).states
    after = rollout(linear(0.9 * TURN.T), first[:, -1] @ (0.9 * TURN), steps=49).states
    found = piecewise_dmd(Trajectory(np.concatenate([first, after], axis=1)), pieces=(1, 2))
    assert found.errors[0] > 0.05 and found.errors[1] < 1e-12 and found.nulls[0].beaten
    moduli = np.abs(np.linalg.eigvals(TURN))
    np.testing.assert_allclose(np.abs(found.eigenvalues), [moduli, 0.9 * moduli], rtol=1e-12)


def test_relaxation_oscillations_need_many_pieces():
    def velocity(s, _):
        v, w = s.unbind(1)
        return torch.stack([v - v**3 / 3 - w + 0.5, 0.08 * (v + 0.7 - 0.8 * w)], 1)  # FitzHugh-Nagumo

    recording = rollout(flow(velocity, 2, dt=0.1, substeps=2), [[1.0, 0.0]], steps=1599)
    found = piecewise_dmd(recording, pieces=(1, 4, 16, 64, 128))
    # the source's claim: one matrix fails, and the error falls with the number of pieces
    assert found.errors[0] > 0.9 and (np.diff(found.errors) < 0).all() and found.errors[-1] < 0.01
    assert (found.errors < found.held).all() and found.nulls[0].beaten and found.exact.max() == 0


def test_the_error_of_a_random_walk_falls_as_well_and_says_nothing():
    walk = np.random.default_rng(0).standard_normal((1, 800, 2)).cumsum(axis=1)
    found = piecewise_dmd(Trajectory(walk), pieces=(1, 8, 64))
    assert found.errors[-1] < 0.3 * found.errors[0] and not found.nulls[0].beaten
    assert "linear pieces are not shown" in found.summary()


def test_blocks_shorter_than_their_rank_are_exact_and_said_so():
    noise = Trajectory(np.random.default_rng(0).standard_normal((1, 12, 8)))
    found = piecewise_dmd(noise, pieces=(4,), draws=0)
    assert found.errors[0] < 1e-10 and found.exact[0] == 4
    assert "4 blocks of 4 too short to be anything but exact" in found.summary()
    cut = piecewise_dmd(noise, pieces=(4,), rank=1, draws=0)
    assert cut.errors[0] > 0.1 and cut.exact[0] == 0 and cut.eigenvalues.shape == (4, 1)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match=r"9 steps make 1 to 4 blocks of two steps or more, but pieces=\(5,\) came"):
        piecewise_dmd(Trajectory(np.ones((1, 9, 1))), pieces=(5,))
    with pytest.raises(InputError, match="every state is zero"):
        piecewise_dmd(Trajectory(np.zeros((1, 9, 1))), pieces=(1,))
    with pytest.raises(InputError, match="runs of one length"):
        piecewise_dmd(Trajectory(np.ones((2, 9, 1)), lengths=np.array([9, 8])))
    with pytest.raises(InputError, match="not negative"):
        piecewise_dmd(Trajectory(np.ones((1, 9, 1))), pieces=(1,), rank=-1)
