"""The sign test by its binomial sum, and the bootstrap by the normal interval it tends to."""

import numpy as np
import pytest

from analyses.series.paired import PairedDifference, paired_difference
from hooks.errors import InputError


def specimens() -> list[PairedDifference]:
    return [
        paired_difference([0, 0, 1], [1, 1, 1], names=("before", "after"), unit="puzzle"),
        paired_difference([], []),
    ]


def test_mcnemars_exact_p_is_the_binomial_tail():
    # 8 pairs up, 1 down, 11 equal: p = 2 (C(9, 0) + C(9, 1)) / 2^9 = 20 / 512.
    first = np.array([0] * 8 + [1] + [1] * 11)
    second = np.array([1] * 8 + [0] + [1] * 11)
    found = paired_difference(first, second)
    assert found.p == pytest.approx(20 / 512, rel=1e-12) and found.larger
    assert found.difference == pytest.approx(7 / 20, rel=1e-12)
    assert not paired_difference(second, first).larger
    assert paired_difference(first, first).p == 1


def test_the_interval_is_the_normal_one_for_many_pairs():
    rng = np.random.default_rng(0)
    gaps = rng.normal(0.2, 1.0, 2000)
    found = paired_difference(np.zeros(2000), gaps, generator=rng)
    half = 1.96 * gaps.std() / np.sqrt(2000)
    # 2000 draws place a 2.5 % quantile within 5 % of a half-width, three standard errors of it within 15 %.
    assert found.interval == pytest.approx([gaps.mean() - half, gaps.mean() + half], abs=0.15 * half)


def test_what_is_not_paired_is_refused():
    with pytest.raises(InputError, match="one length"):
        paired_difference([0.0], [0.0, 1.0])
    with pytest.raises(InputError, match="finite"):
        paired_difference([np.nan], [0.0])
