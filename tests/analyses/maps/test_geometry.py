import math
import re

import numpy as np
import pytest
import torch

from analyses.maps.geometry import linear_geometry
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear


def read(A, B, C=None):
    A, B = (torch.as_tensor(m, dtype=torch.float64) for m in (A, B))
    readout = None if C is None else lambda x: x @ torch.as_tensor(C, dtype=torch.float64).T
    return Dynamics(lambda x, u: x @ A.T + u @ B.T, dim=len(A), driven=True, inputs=B.shape[1], readout=readout)


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


def leading(dim):
    """A diagonal map whose slowest mode is the first coordinate."""
    return np.diag(np.linspace(0.9, 0.1, dim))


@pytest.mark.parametrize("dim", [1, 2, 3, 16])
def test_null_of_one_input_is_the_cosine_of_random_directions(dim):
    """Mean |cos| of two random directions: Gamma(dim / 2) / (sqrt(pi) Gamma((dim + 1) / 2))."""
    found = linear_geometry(
        read(leading(dim), np.eye(dim)[:, :1], np.eye(dim)[:1]), np.zeros((1, dim)), drive=[0.0], draws=4000
    )
    mean = math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) / math.sqrt(math.pi)
    for null in found.nulls:
        error = null.draws.std() / math.sqrt(len(null.draws))
        assert abs(null.draws.mean() - mean) <= 4 * error + 1e-12  # four standard errors, and the digits that count


def test_null_of_three_inputs_takes_the_best_of_three():
    dim, rng = 16, np.random.default_rng(0)
    found = linear_geometry(read(leading(dim), np.eye(dim)[:, :3]), np.zeros((1, dim)), drive=[0.0] * 3, draws=2000)
    draws = rng.standard_normal((100_000, dim))  # the best of three orthogonal inputs: the largest of three coordinates
    best = np.abs(draws / np.linalg.norm(draws, axis=1, keepdims=True))[:, :3].max(axis=1)
    (null,) = found.nulls
    assert null.name == "input" and null.unit == "network"
    assert abs(null.draws.mean() - best.mean()) <= 4 * best.std() / math.sqrt(2000)
    assert best.mean() > 1.6 * np.abs(draws[:, 0] / np.linalg.norm(draws, axis=1)).mean()  # of one it is another number


def test_what_lies_along_or_across_is_told_from_chance():
    dim = 16
    found = linear_geometry(
        read(leading(dim), np.eye(dim)[:, :3], np.eye(dim)[13:]), np.zeros((1, dim)), drive=[0.0] * 3
    )
    along, across = found.nulls
    assert along.beaten and along.observed == 1 and across.beaten and across.observed == 0
    assert re.search(
        r"best input meets .* cosine 1.00 \(random directions: 0.3\d, more than chance, p = ", found.summary()
    )
    assert re.search(r"best readout meets .* cosine 0.00 \(random directions: 0.3\d, less than chance", found.summary())


def test_an_input_at_random_says_that_it_beats_nothing():
    dim, B = 16, np.random.default_rng(5).standard_normal((16, 3))
    one, many = (linear_geometry(read(leading(dim), B), np.zeros((found, dim)), drive=[0.0] * 3) for found in (1, 64))
    assert "not beaten" in one.summary() and not one.nulls[0].beaten
    # 64 points with one and the same mode are one network: no more evidence than a single point
    assert many.nulls[0].observed == one.nulls[0].observed and abs(many.nulls[0].p - one.nulls[0].p) < 0.1


def test_a_complex_mode_in_the_plane_meets_every_direction_alike():
    """(1, +-i) / sqrt 2 has |cos| 1 / sqrt 2 with every real direction, so no input can beat its null."""
    turn = 0.9 * np.array([[0.8, -0.6], [0.6, 0.8]])
    found = linear_geometry(read(turn, [[1.0], [0.3]], [[1.0, 0.0]]), np.zeros((1, 2)), drive=[0.0])
    for null in found.nulls:
        assert null.draws == pytest.approx(math.sqrt(0.5), abs=1e-11) and null.p == 1.0


def test_equal_calls_give_equal_nulls_and_a_generator_others():
    network, at = read(leading(4), np.eye(4)[:, :1]), np.zeros((1, 4))
    first, again = (linear_geometry(network, at, drive=[0.0]).nulls[0].draws for _ in range(2))
    other = linear_geometry(network, at, drive=[0.0], generator=torch.Generator().manual_seed(1)).nulls[0].draws
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_autonomous_map_no_points_and_refusal():
    still = linear_geometry(linear([[0.5]]), np.zeros((1, 1)))
    assert still.inputs.shape == (1, 1, 0) and still.readout.shape == (1, 0, 1)
    assert "no drive and no readout" in still.summary()
    none = linear_geometry(read([[0.5]], [[1.0]], [[1.0]]), np.zeros((0, 1)), drive=[0.0])
    assert none.eigenvalues.shape == (0, 1) and none.nulls == () and none.summary() == "no points, so no modes"
    for misuse in ({"kept": 0}, {"draws": 0}):
        with pytest.raises(InputError, match="needs a mode and a draw"):
            linear_geometry(linear([[0.5]]), [[0.0]], **misuse)
    with pytest.raises(DrivenError, match="without a drive"):
        linear_geometry(read([[0.5]], [[1.0]], [[1.0]]), [[0.0]])
