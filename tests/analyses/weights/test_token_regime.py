import numpy as np
import pytest

from analyses.weights.token_regime import token_regime
from hooks.errors import InputError


def specimens():
    some = np.random.default_rng(0).standard_normal((2, 2, 6))
    return [token_regime(*some, draws=9), token_regime(np.zeros((1, 2)), np.zeros((1, 2)))]


def test_eigenvalues_are_those_of_the_full_matrix():
    rng = np.random.default_rng(1)
    for width, channels in ((3, 20), (4, 5), (2, 2), (5, 1)):
        S_B, S_C = rng.standard_normal((2, width, channels))
        M = S_C.T @ S_B
        full = np.linalg.eigvalsh((M + M.T) / 2)[::-1]
        kept = token_regime(S_B, S_C, draws=0).eigenvalues
        by_size = lambda values: np.sort(np.abs(values))[::-1]  # noqa: E731
        assert by_size(kept) == pytest.approx(by_size(full)[: len(kept)], abs=1e-12)
        assert kept.sum() == pytest.approx(np.trace(M), abs=1e-12)


def test_independent_rows_force_as_many_positive_as_negative_eigenvalues():
    """x' S_C' S_B x = (S_C x) . (S_B x), a product of free vectors: Sylvester's signature is (width, width)."""
    rng = np.random.default_rng(2)
    for width, channels in ((1, 2), (8, 16), (16, 100)):
        for _ in range(5):
            found = token_regime(*rng.standard_normal((2, width, channels)), draws=0)
            assert (found.positive, found.negative, found.regime, found.forced) == (width, width, "mixed", True)
            assert all(check.passed for check in found.checks) and len(found.checks) == 2
    assert "forced by the shape" in found.summary()


@pytest.mark.parametrize(("sign", "regime"), [(1, "divergent"), (-1, "convergent")])
def test_the_papers_parametrisation_has_one_sign(sign, regime):
    """S_C unit upper triangular and S_B = D S_C with D of one sign: x' S_C' D S_C x."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        S_C = np.triu(rng.standard_normal((6, 6)), 1) + np.eye(6)
        D = sign * (np.log1p(np.exp(rng.standard_normal(6))) + 0.7)
        found = token_regime(D[:, None] * S_C, S_C, draws=0)
        assert found.regime == regime and not found.forced
        assert found.positive_share == (1.0 if sign > 0 else 0.0)


def test_the_null_is_beaten_by_tied_matrices_and_not_by_independent_ones():
    rng = np.random.default_rng(4)
    S_B, S_C = rng.standard_normal((2, 8, 64))
    tied = token_regime(S_B + 0.5 * S_C, S_C)
    assert tied.nulls[0].beaten and tied.positive_share > 0.6 and tied.regime == "mixed"
    ps = [token_regime(*rng.standard_normal((2, 4, 32)), draws=99).nulls[0].p for _ in range(40)]
    assert sum(p <= 0.05 for p in ps) <= 6  # binomial(40, 0.05): more has a chance of 0.3 %
    assert "does not beat 99 draws" in token_regime(S_B, S_C, draws=99).summary()


def test_one_channel_none_and_refusals():
    alone = token_regime([[2.0]], [[-3.0]])
    assert alone.eigenvalues.tolist() == [-6.0] and alone.own.tolist() == [-6.0] and alone.regime == "convergent"
    nothing = token_regime(np.zeros((2, 3)), np.zeros((2, 3)))
    assert nothing.regime == "neutral" and np.isnan(nothing.positive_share) and nothing.nulls == ()
    with pytest.raises(InputError, match=r"\(2, 3\) and \(3, 3\) came"):
        token_regime(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(InputError, match="one pair of matrices"):
        token_regime(np.ones((2, 2, 3)), np.ones((2, 2, 3)))
