import numpy as np
import pytest

from case_studies.pruning_by_exponents import GAIN, SIZE, covariance_scores, pruned, random_network


def test_a_cut_takes_the_weights_of_lowest_score_and_no_others():
    network = random_network(0)
    scores = network.W.abs().numpy()
    cut = pruned(network, scores, 0.25, gain_kept=False)
    gone = (cut.W == 0).numpy() & (network.W != 0).numpy()
    assert gone.sum() == round(0.25 * SIZE * (SIZE - 1))  # none from a unit to itself is there to go
    assert scores[gone].max() < scores[(cut.W != 0).numpy()].min()
    assert (cut.W == network.W)[cut.W != 0].all()


def test_kept_gain_is_the_norm_of_what_enters_each_unit():
    network = random_network(1)
    cut = pruned(network, np.random.default_rng(0).random((SIZE, SIZE)), 0.5, gain_kept=True)
    np.testing.assert_allclose(cut.W.norm(dim=1), network.W.norm(dim=1), rtol=1e-12)
    assert float(network.W.var()) * SIZE == pytest.approx(GAIN**2, rel=0.05)  # 1e4 draws: 3.5 errors of sqrt(2 / 1e4)
    everything = pruned(network, np.ones((SIZE, SIZE)), 1.0, gain_kept=True)
    assert not everything.W.any() and everything.W.isfinite().all()


def test_the_covariance_rule_is_the_variance_of_a_difference_or_a_sum():
    states = np.random.default_rng(0).standard_normal((500, 3)) @ np.random.default_rng(1).standard_normal((3, 3))
    W = np.array([[0.0, 2.0, -1.0], [0.5, 0.0, 0.0], [0.0, -3.0, 0.0]])
    x, y, z = states.T
    by_hand = [2 * np.var(x - y, ddof=1), np.var(x + z, ddof=1), 0.5 * np.var(y - x, ddof=1), 3 * np.var(z + y, ddof=1)]
    scores = covariance_scores(W, states)
    np.testing.assert_allclose(scores[[0, 0, 1, 2], [1, 2, 0, 1]], by_hand, rtol=1e-12)
    assert not scores[W == 0].any()
