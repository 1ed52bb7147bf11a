import math

import numpy as np
import pytest
import torch

from analyses.maps.geometry import linear_geometry
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError
from tests.known import linear


def read(A, B, C):
    A, B, C = (torch.as_tensor(m, dtype=torch.float64) for m in (A, B, C))
    return Dynamics(
        lambda x, u: x @ A.T + u @ B.T, dim=len(A), driven=True, inputs=B.shape[1], readout=lambda x: x @ C.T
    )


def test_an_input_along_a_mode_excites_it_alone_and_a_readout_across_sees_nothing():
    # modes: (1, 0) with 0.9 and (0, 1) with 0.5; the input pushes along the first, the readout reads the second
    found = linear_geometry(read(np.diag([0.9, 0.5]), [[2.0], [0.0]], [[0.0, 3.0]]), np.zeros((1, 2)), drive=[0.0])
    assert found.eigenvalues[0] == pytest.approx([0.9, 0.5], abs=1e-15)
    assert found.input_alignment[0, :, 0] == pytest.approx([1, 0], abs=1e-15)
    assert found.readout_alignment[0, :, 0] == pytest.approx([0, 1], abs=1e-15)
    assert found.inputs[0].tolist() == [[2.0], [0.0]] and found.readout[0].tolist() == [[0.0, 3.0]]


def test_left_eigenvectors_of_a_non_normal_map_say_what_excites_a_mode():
    # J = [[0.9, 1], [0, 0.5]]: left eigenvector of 0.9 is (0.4, 1) up to scale, right one (1, 0)
    found = linear_geometry(read([[0.9, 1.0], [0.0, 0.5]], [[0.0], [1.0]], [[1.0, 0.0]]), np.zeros((1, 2)), drive=[0.0])
    assert found.input_alignment[0, 0, 0] == pytest.approx(1 / math.hypot(0.4, 1), abs=1e-12)
    assert found.readout_alignment[0, 0, 0] == pytest.approx(1, abs=1e-12)
    assert all(check.passed for check in found.checks)


@pytest.mark.parametrize("dim", [1, 2, 3, 16])
def test_chance_is_the_mean_cosine_of_random_directions(dim):
    generator = np.random.default_rng(0)
    draws = generator.standard_normal((200_000, dim))
    cosines = np.abs(draws[:, 0]) / np.linalg.norm(draws, axis=1)
    error = cosines.std() / math.sqrt(len(cosines))
    chance = linear_geometry(linear(np.eye(dim) / 2), np.zeros((1, dim))).chance
    assert abs(chance - cosines.mean()) <= 4 * error + 1e-15


def test_autonomous_map_no_points_and_refusal():
    still = linear_geometry(linear([[0.5]]), np.zeros((1, 1)))
    assert still.inputs.shape == (1, 1, 0) and still.readout.shape == (1, 0, 1)
    assert "no drive and no readout" in still.summary()
    assert linear_geometry(linear([[0.5]]), np.zeros((0, 1))).eigenvalues.shape == (0, 1)
    with pytest.raises(DrivenError, match="without a drive"):
        linear_geometry(read([[0.5]], [[1.0]], [[1.0]]), [[0.0]])
