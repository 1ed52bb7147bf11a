import math

import numpy as np
import pytest

from analyses.maps._verdicts import halves_agree, standard_error, verdict

MOVING = {"time": 1000.0, "complete": True, "settled": True, "resting": False, "period": 0, "flow": False}


@pytest.mark.parametrize(
    ("exponents", "error", "case", "expected"),
    [
        ([0.4, -1.6], 0.1, {}, "chaotic"),
        ([0.4, -1.6], 0.2, {}, "undecided: zero, but growth by less than e^600 would not have shown"),
        ([0.4, -700.0], 0.2, {}, "quasi-periodic: one zero exponent, the next negative"),  # a thousandth of the next
        ([0.7, -1.0], 0.0, {"resting": True, "period": 1}, "an unstable rest or cycle, never left"),
        ([-0.1, -0.2], 0.01, {}, "stable, not yet at rest"),
        ([-0.1, -0.2], 0.01, {"resting": True, "period": 1}, "stable fixed point"),
        ([-0.1, -0.2], 0.01, {"resting": True, "period": 3}, "stable cycle of period 3"),
        ([-0.1, -0.2], 0.01, {"period": -1}, "stable"),
        ([0.0, -0.2], 0.01, {"period": -1}, "undecided: zero within its error"),
        ([0.0, -0.2], 0.0, {"resting": True, "period": 2}, "neutral cycle of period 2"),
        ([1e-4, -0.2], 1e-3, {}, "quasi-periodic: one zero exponent, the next negative"),
        ([1e-4, -0.2], 1e-3, {"flow": True}, "periodic orbit: one zero exponent, the next negative"),
        # a sampled limit cycle may return exactly
        (
            [0.0, -0.2],
            0.0,
            {"flow": True, "resting": True, "period": 5},
            "periodic orbit: one zero exponent, the next negative",
        ),
        ([1e-4, -1e-4, -0.2], 1e-3, {"flow": True}, "quasi-periodic: 2 zero exponents, the next negative"),
        ([1e-4, -1e-4], 1e-3, {}, "quasi-periodic: every exponent zero"),
        ([1e-4], 1e-3, {"complete": False}, "undecided: zero, and no further exponent is known"),
        ([1e-4, -0.2], 1e-3, {"settled": False}, "undecided: zero within its error, and the halves of the run differ"),
        ([0.4, -1.6], math.nan, {}, "undecided: too few steps for an error"),
    ],
)
def test_verdicts(exponents, error, case, expected):
    given = np.array(exponents)
    assert verdict(given, np.full(len(given), error), **(MOVING | case)) == expected


def test_standard_error_is_not_misled_by_growth_that_the_next_block_takes_back():
    """Block means b + g_(i+1) - g_i, g independent and normal: a start's mean differs by (g_32 - g_0) / 32 alone."""
    g = np.random.default_rng(0).standard_normal((33, 64, 1))
    expected = math.sqrt(2) / 32 / math.sqrt(64)
    # 64 means: good to 1 / sqrt(2 x 63) = 9 %; four of them
    assert standard_error(1.0 + np.diff(g, axis=0))[0] == pytest.approx(expected, rel=0.36)
    assert standard_error(np.diff(g, axis=0), least=10**9)[0] > 4 * expected  # sqrt(32) = 5.7 times


def test_halves_agree_as_often_as_the_level_says_and_not_under_a_drift():
    generator = np.random.default_rng(0)
    agreed = [halves_agree(generator.standard_normal((32, 4, 5))) for _ in range(1000)]
    # 1 % of 1000 settled runs are called different: 10, give or take 4 sqrt(10)
    assert 0 < agreed.count(False) < 23
    drift = generator.standard_normal((32, 4, 1)) + np.linspace(0, 4, 32)[:, None, None]  # 2 apart, error 0.18
    assert not halves_agree(drift) and not halves_agree(np.zeros((3, 1, 1)))
    assert halves_agree(np.full((32, 2, 2), -np.inf))
