"""Losses of predictors whose divergence is a closed form."""

import math

import numpy as np
import pytest

from analyses.symbols.prediction_excess import prediction_excess
from hooks.errors import InputError

P = np.broadcast_to([0.5, 0.25, 0.25, 0.0], (6, 3, 4))


def specimens():
    with np.errstate(divide="ignore"):
        return [
            prediction_excess(np.log(np.full(P.shape, 0.25)), P),
            prediction_excess(np.log(np.eye(4)[None]), np.eye(4)[None]),
        ]


def test_the_truth_itself_has_no_excess_and_its_entropy_as_loss():
    with np.errstate(divide="ignore"):
        found = prediction_excess(np.log(P), P)
    assert found.losses == pytest.approx([1.5 * math.log(2)] * 3, abs=1e-14)
    assert found.excess == pytest.approx([0, 0, 0], abs=1e-14) and found.share == pytest.approx(0, abs=1e-14)


def test_a_uniform_prediction_loses_the_log_of_the_tokens():
    found = prediction_excess(np.log(np.full(P.shape, 0.25)), P)
    assert found.losses == pytest.approx([2 * math.log(2)] * 3) and found.share == pytest.approx(1 / 3)
    assert found.checks[0].passed and "33.33% above" in found.summary()


def test_runs_count_by_their_weight():
    q = np.log(np.full((2, 1, 2), 0.5))
    p = np.array([[[0.5, 0.5]], [[1.0, 0.0]]])
    assert prediction_excess(q, p, weights=[3.0, 1.0]).excess[0] == pytest.approx(math.log(2) / 4)


def test_a_token_that_can_come_and_is_ruled_out_costs_everything():
    with np.errstate(divide="ignore"):
        found = prediction_excess(np.log(np.array([[[1.0, 0.0]]])), np.array([[[0.5, 0.5]]]))
    assert found.losses[0] == math.inf and found.excess[0] == math.inf


def test_a_process_that_is_known_has_no_share():
    found = specimens()[1]
    assert found.excess.tolist() == [0] * 4 and math.isnan(found.share)


@pytest.mark.parametrize(
    ("q", "p", "options", "message"),
    [
        (np.zeros((1, 2)), np.zeros((1, 2)), {}, r"both take shape \(runs, steps, tokens\)"),
        (np.zeros(P.shape), P, {}, r"exp\(log_probabilities\) sums to between 4 and 4"),
        (np.log(np.full(P.shape, 0.25)), P / 2, {}, "truth sums to between 0.5 and 0.5"),
        (np.log(np.full(P.shape, 0.25)), P, {"weights": [1.0]}, "one for each of 6 runs"),
    ],
)
def test_refusals(q, p, options, message):
    with pytest.raises(InputError, match=message):
        prediction_excess(q, p, **options)
