import math

import numpy as np
import pytest
import torch

from analyses.result import Outcome
from analyses.trajectories._conjugation import conjugation_bounds, conjugations, eigenvalue_distances
from analyses.trajectories.similarity import dynamical_similarity
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from tests.known import linear


def specimens():
    turns = [rollout(linear(turn(a)), np.random.default_rng(0).standard_normal((6, 2)), steps=20) for a in (0.3, 0.5)]
    still = Trajectory(np.ones((3, 4, 2)))
    return [dynamical_similarity(turns, delays=2, draws=3), dynamical_similarity([still, still])]


def turn(angle, shrink=0.95):
    return shrink * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def orthogonal(n, rng, count=1):
    return np.linalg.qr(rng.standard_normal((count, n, n)))[0]


def searched(A, B, starts=7):
    guess = np.broadcast_to(np.eye(A.shape[1]), A.shape)
    return conjugations(A, B, guess, starts=starts, generator=torch.Generator().manual_seed(0))[0]


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_a_matrix_and_its_turned_copy_are_at_distance_0(n):
    """A and Q A Q' (the peers accept 2e-2): 1e-10 for rounding of random eigenvalues, whose conditions are some 10."""
    rng = np.random.default_rng(n)
    A, Q = rng.standard_normal((8, n, n)) / math.sqrt(n), orthogonal(n, rng, 8)
    B = Q @ A @ Q.swapaxes(1, 2)
    assert searched(A, B).max() < 1e-10 and conjugation_bounds(A, B).max() < 1e-10
    assert eigenvalue_distances(np.linalg.eigvals(A), np.linalg.eigvals(B)).max() < 1e-10


def test_symmetric_matrices_are_as_far_apart_as_their_sorted_eigenvalues():
    """Hoffman and Wielandt: the minimum over C is known, and bound, distance and eigenvalues meet there."""
    rng = np.random.default_rng(0)
    A, B = (M + M.swapaxes(1, 2) for M in rng.standard_normal((2, 5, 6, 6)))
    exact = np.linalg.norm(np.linalg.eigvalsh(A) - np.linalg.eigvalsh(B), axis=1)
    np.testing.assert_allclose(searched(A, B), exact, rtol=1e-9)
    np.testing.assert_allclose(conjugation_bounds(A, B), exact, rtol=1e-12)
    np.testing.assert_allclose(eigenvalue_distances(np.linalg.eigvals(A), np.linalg.eigvals(B)), exact, rtol=1e-9)


def test_plane_rotations_are_as_far_apart_as_their_angles():
    """|R(a) - R(b)| = 2 sqrt 2 sin(|a - b| / 2); a and -a are mirror images, reached by a reflection alone."""
    A, B = np.stack([turn(0.3, 1.0), turn(0.3, 1.0)]), np.stack([turn(0.8, 1.0), turn(-0.3, 1.0)])
    np.testing.assert_allclose(searched(A, B), [2 * math.sqrt(2) * math.sin(0.25), 0.0], atol=1e-9)


def test_a_shear_and_the_identity_have_the_same_eigenvalues_and_are_apart():
    """C I C' = I, so the distance is that of the entries: 1. Eigenvalues alone do not see it (as fastDSA warns)."""
    A, B = np.array([[[1.0, 1.0], [0.0, 1.0]]]), np.eye(2)[None]
    assert searched(A, B)[0] == pytest.approx(1.0, abs=1e-12)
    assert eigenvalue_distances(np.linalg.eigvals(A), np.linalg.eigvals(B))[0] < 1e-12


def test_no_random_change_of_coordinates_beats_what_was_found():
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((2, 1, 3, 3))
    tried = orthogonal(3, rng, 20_000)
    best = np.linalg.norm(A - tried @ B @ tried.swapaxes(1, 2), axis=(1, 2)).min()
    assert conjugation_bounds(A, B)[0] <= searched(A, B)[0] <= best


def test_a_linear_system_is_recovered_up_to_coordinates_and_any_invertible_change_of_them_leaves_it():
    """Unit variance in every direction makes A the same for x and T x + c, T invertible; its eigenvalues are the system's."""
    rng = np.random.default_rng(2)
    M = np.zeros((4, 4))
    M[:2, :2], M[2:, 2:] = turn(0.5), np.diag([0.8, -0.4])
    states = rollout(linear(M), rng.standard_normal((20, 4)), steps=30)
    skewed = Trajectory(states.states @ (np.eye(4) + 0.4 * rng.standard_normal((4, 4))) + 7)
    found = dynamical_similarity([states, skewed], delays=1, rank=4, names=("plain", "skewed"))
    values = np.linalg.eigvals(found.operators[0])
    assert all(np.abs(values - exact).min() < 1e-10 for exact in np.linalg.eigvals(M))
    assert found.distances[0, 1] < 1e-10 and found.eigenvalue_distances[0, 1] < 1e-10 and found.angles[0, 1] < 1e-6
    np.testing.assert_allclose(found.predicted, 1, atol=1e-10)
    np.testing.assert_allclose(found.captured, 1, atol=1e-12)
    assert found.checks[0].passed


def noisy(angle, seed, runs=24, steps=60, basis=None):
    """A noisy rotation, in two of five coordinates that are then turned at random."""
    rng = np.random.default_rng(seed)
    x, states = rng.standard_normal((runs, 2)), []
    for _ in range(steps):
        x = x @ turn(angle).T + 0.2 * rng.standard_normal((runs, 2))
        states.append(x)
    return Trajectory(np.stack(states, axis=1) @ orthogonal(5, rng)[0][:2])


def test_records_of_one_system_are_not_told_apart_and_of_two_they_are():
    alike = dynamical_similarity([noisy(0.4, seed) for seed in range(4)], delays=2, rank=4, draws=39)
    apart = dynamical_similarity([noisy(0.2 + 0.3 * seed, seed) for seed in range(4)], delays=2, rank=4, draws=39)
    assert not alike.nulls[0].beaten and "so no difference is shown" in alike.summary()
    assert apart.nulls[0].beaten and apart.differ[np.triu_indices(4, 1)].all()
    assert np.median(apart.distances) > 3 * np.median(alike.distances)


def test_distances_of_the_same_record_are_symmetric_and_between_their_bounds():
    found = dynamical_similarity([noisy(0.3 * k, k) for k in range(1, 5)], delays=3, rank=5, draws=0)
    assert not found.nulls and np.isnan(found.halves).all() and found.within.shape == (4, 0)
    np.testing.assert_array_equal(found.distances, found.distances.T)
    assert (found.bounds <= found.distances + 1e-9).all() and (np.diag(found.distances) == 0).all()


def test_a_still_network_a_short_one_and_one_of_fewer_directions():
    """The others are compared at the directions that all of them have."""
    still, short = Trajectory(np.ones((3, 30, 2))), Trajectory(np.random.default_rng(0).standard_normal((3, 2, 2)))
    line = rollout(linear([[0.9]]), [[1.0], [2.0]], steps=30)
    found = dynamical_similarity([still, noisy(0.3, 0), short, line], delays=2, draws=2)
    assert found.rank == 1 and np.isfinite(found.distances[1, 3]) and np.isnan(found.distances[0]).all()
    assert "2 of 4 networks compared" in found.summary()
    none = dynamical_similarity([still, line])
    assert none.outcome is Outcome.TOO_SHORT and "fewer than two" in none.summary()
    assert dynamical_similarity([]).distances.shape == (0, 0)


def test_stopped_early_says_what_is_missing():
    found = dynamical_similarity([noisy(0.3, k) for k in range(3)], watch=lambda states, total: iter(()))
    assert found.outcome is Outcome.OUT_OF_TIME and not found.nulls and "before the first pair" in found.summary()


def test_refusals():
    with pytest.raises(InputError, match="1 trajectories need as many names, but 2 came"):
        dynamical_similarity([noisy(0.3, 0)], names=("a", "b"))
    with pytest.raises(InputError, match="delays=0"):
        dynamical_similarity([noisy(0.3, 0)], delays=0)


def test_no_distance_is_longer_than_a_detour_where_some_searches_end_in_poor_minima():
    """Eight copies of one rank-10 system with a little noise: a search from one start alone often misses the best C."""
    rng = np.random.default_rng(3)
    M = rng.standard_normal((10, 10))
    M *= 0.95 / np.abs(np.linalg.eigvals(M)).max()
    x = rng.standard_normal((8, 40, 10))
    steps = [x := x @ M.T + 0.05 * rng.standard_normal(x.shape) for _ in range(25)]
    copies = [Trajectory(np.stack(steps, axis=2)[number] @ orthogonal(10, rng)[0]) for number in range(8)]
    found = dynamical_similarity(copies, delays=1, rank=10, draws=0, restarts=0)
    assert found.checks[1].passed and found.checks[1].got < 1e-6
