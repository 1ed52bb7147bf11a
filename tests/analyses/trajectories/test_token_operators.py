"""Exact beliefs of processes written out here give back the matrices that made them."""

import numpy as np
import pytest

from analyses.trajectories.token_operators import token_operators
from hooks.errors import InputError
from hooks.trajectory import Trajectory

# Two states, two tokens, all transitions possible
T = np.array([[[0.5, 0.1], [0.1, 0.2]], [[0.1, 0.3], [0.4, 0.3]]])


def orbit(runs=40, steps=30, *, matrices=T, seed=0):
    """Beliefs by Bayes' rule along tokens drawn with their own probabilities, from random first beliefs."""
    rng = np.random.default_rng(seed)
    belief = rng.dirichlet(np.ones(matrices.shape[1]), runs)
    beliefs, tokens, likely = [belief], [], []
    for _ in range(steps):
        joint = np.einsum("ri,xij->rxj", belief, matrices)
        p = joint.sum(2)
        token = (rng.random((runs, 1)) > p.cumsum(1)).sum(1)
        belief = joint[np.arange(runs), token] / p[np.arange(runs), token][:, None]
        beliefs.append(belief)
        tokens.append(token)
        likely.append(p[np.arange(runs), token])
    return Trajectory(np.stack(beliefs, 1), "token"), np.stack(tokens, 1), np.stack(likely, 1)


def specimens():
    still = Trajectory(np.ones((4, 3, 2)), "token")
    return [
        token_operators(*orbit(10, 8), shuffles=19),
        token_operators(still, np.zeros((4, 2), int), np.ones((4, 2)), folds=2),
    ]


def test_bayes_rule_gives_back_its_matrices():
    found = token_operators(*orbit())
    np.testing.assert_allclose(found.operators, T, atol=1e-12)
    assert found.r2 == pytest.approx(1, abs=1e-12) and found.nulls[0].beaten and found.checks[0].passed
    np.testing.assert_allclose(found.operators.sum((0, 2)), 1, atol=1e-12)  # some token comes
    assert found.counts.sum() == 1200


def test_a_change_of_coordinates_changes_the_maps_by_similarity():
    beliefs, tokens, likely = orbit()
    M = np.array([[2.0, 1.0], [-1.0, 3.0]])
    turned = Trajectory(beliefs.states @ M, "token")
    np.testing.assert_allclose(
        token_operators(turned, tokens, likely, shuffles=1).operators, np.linalg.inv(M) @ T @ M, atol=1e-10
    )


def test_tokens_that_do_nothing_are_no_finding():
    """Both matrices the same up to a factor: the token says nothing, and shuffled tokens explain as much."""
    one = np.array([[0.7, 0.3], [0.2, 0.8]])
    rng = np.random.default_rng(1)
    beliefs, tokens, _ = orbit(matrices=np.stack([0.5 * one, 0.5 * one]))
    noisy = Trajectory(beliefs.states + 0.01 * rng.standard_normal(beliefs.states.shape), "token")
    found = token_operators(noisy, tokens, np.full(tokens.shape, 0.5))
    assert not found.nulls[0].beaten and found.summary().startswith("no more than with shuffled tokens")


def test_padding_is_not_read_and_a_token_never_heard_has_the_zero_map():
    beliefs, tokens, likely = orbit(6, 5)
    padded = np.full((6, 9, 2), np.nan)
    padded[:, :6] = beliefs.states
    more = np.full((6, 8), 7)
    more[:, :5] = 2 * tokens
    p = np.full((6, 8), np.nan)
    p[:, :5] = likely
    found = token_operators(Trajectory(padded, "token", lengths=np.full(6, 6)), more, p, shuffles=1)
    np.testing.assert_allclose(found.operators[[0, 2]], T, atol=1e-10)
    assert not found.operators[1].any() and found.counts[1] == 0


@pytest.mark.parametrize(
    ("tokens", "likely", "options", "message"),
    [
        (np.zeros((4, 3), int), np.ones((4, 2)), {}, r"take shape \(4, 2\), but \(4, 3\)"),
        (np.full((4, 2), -1), np.ones((4, 2)), {}, "whole numbers from 0"),
        (np.zeros((4, 2), int), np.full((4, 2), 2.0), {}, "between 0 and 1"),
        (np.zeros((4, 2), int), np.ones((4, 2)), {"folds": 5}, "folds are 2 to 4"),
        (np.zeros((4, 2), int), np.ones((4, 2)), {"shuffles": 0, "folds": 2}, "shuffles 1 or more"),
    ],
)
def test_refusals(tokens, likely, options, message):
    with pytest.raises(InputError, match=message):
        token_operators(Trajectory(np.ones((4, 3, 2)), "token"), tokens, likely, **options)
