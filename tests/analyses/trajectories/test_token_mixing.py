import numpy as np
import pytest

from analyses.trajectories.token_mixing import token_mixing
from hooks.errors import InputError

ONE = np.ones(1)


def specimens():
    return [decaying(0.5), token_mixing(np.zeros((1, 1, 3, 3)), outputs=ONE, own_outputs=ONE)]


def decaying(rate, tokens=60):
    """A leaky integrator: M_ij = rate^(i - j)."""
    lags = np.subtract.outer(np.arange(tokens), np.arange(tokens))
    M = np.tril(rate ** np.maximum(lags, 0).astype(float))
    return token_mixing(M[None, None], outputs=ONE, own_outputs=ONE)


def test_a_leaky_integrator_has_geometric_shares():
    """(1 - r) r^lag, half of it within ln 2 / -ln r, rows of 30 tokens and more: r^30 is left out."""
    found = decaying(0.5)
    assert found.shares == pytest.approx(0.5 ** np.arange(1.0, 32), abs=1e-9)
    assert found.half_lag == 0 and found.mean_lag == pytest.approx(1.0, abs=1e-6)
    assert decaying(0.8).half_lag == 3  # 1 - 0.8^4 = 0.59, 1 - 0.8^3 = 0.49


def test_an_integrator_looks_back_evenly_and_beyond_the_lags():
    found = decaying(1.0, tokens=100)
    assert found.half_lag == 36  # rows i = 50 to 99 have 1 / (i + 1) each; 0.0137 = (ln 100 - ln 50.5) / 50 on average
    assert found.shares[0] == pytest.approx(np.mean(1 / np.arange(51, 101)), abs=1e-12)
    assert "beyond lag 50" in found.summary()


def test_other_outputs_and_later_tokens_fail_their_checks():
    M = np.ones((1, 1, 2, 2))
    found = token_mixing(M, outputs=[1.0, 2.0], own_outputs=[1.0, 2.1])
    assert [check.passed for check in found.checks] == [False, False]
    assert found.apart == pytest.approx(0.1 / 2.1) and "are not the module's own" in found.summary()


def test_one_token_no_weight_and_refusals():
    alone = token_mixing(np.full((2, 3, 1, 1), -2.0), outputs=ONE, own_outputs=ONE)
    assert alone.shares.tolist() == [1.0] and alone.rows == 6
    assert "0 rows" in token_mixing(np.zeros((1, 1, 3, 3)), outputs=ONE, own_outputs=ONE).summary()
    with pytest.raises(InputError, match=r"but \(2, 3\), \(1,\) and \(1,\) came"):
        token_mixing(np.ones((2, 3)), outputs=ONE, own_outputs=ONE)
    with pytest.raises(InputError, match="not finite"):
        token_mixing(np.ones((1, 1, 1, 1)), outputs=[np.nan], own_outputs=ONE)
