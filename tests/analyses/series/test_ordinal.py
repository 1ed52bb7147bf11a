import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from analyses.result import Outcome
from analyses.series.ordinal import complexity_bounds, ordinal_patterns
from hooks.errors import InputError

STEPS = 2**15


def orbit(step, start, steps=STEPS):
    now, kept = start, []
    for _ in range(steps + 1000):
        now = step(now)
        kept.append(now)
    return np.array(kept[1000:])


def logistic_orbit(r=4.0, steps=STEPS):
    return orbit(lambda x: r * x * (1 - x), 0.3, steps)


def coloured(exponent, steps=STEPS, seed=0):
    """Gaussian noise of power f^-exponent and unit variance."""
    rng = np.random.default_rng(seed)
    f = np.fft.rfftfreq(steps)[1:]
    spectrum = (rng.standard_normal(len(f)) + 1j * rng.standard_normal(len(f))) * f ** (-exponent / 2)
    series = np.fft.irfft(np.concatenate([[0], spectrum]), steps)
    return series / series.std()


def specimens():
    return [
        ordinal_patterns(np.random.default_rng(0).standard_normal((2, 400)), order=3, delays=(1, 2)),
        ordinal_patterns(np.zeros((1, 9))),
    ]


def test_bandt_and_pompe_worked_example():
    """4 7 9 10 6 11 3: entropies 0.918296 and 1.521928 bits at orders 2 and 3, Phys. Rev. Lett. 88, 174102."""
    for order, bits in ((2, 0.918296), (3, 1.521928)):
        found = ordinal_patterns([4, 7, 9, 10, 6, 11, 3], order=order, least=0.0, draws=0)
        assert_allclose(found.entropies[0, 0] * math.log2(math.factorial(order)), bits, atol=1e-6)


def test_logistic_map_has_the_pattern_probabilities_of_its_conjugate_tent():
    """Order 3: fifteenths 5, 1, 4, 2, 3 of ranks 012, 021, 120, 102, 201, and 210 forbidden. Windows as good as independent
    would give errors of 0.003; the map mixes within a few steps, so 0.01 is three to four of them."""
    found = ordinal_patterns(logistic_orbit(), order=3, draws=0)
    by_ranks = {
        "".join(map(str, ranks)): p for ranks, p in zip(found.patterns.tolist(), found.probabilities[0], strict=True)
    }
    for ranks, fifteenths in {"012": 5, "021": 1, "120": 4, "102": 2, "201": 3}.items():
        assert abs(by_ranks[ranks] - fifteenths / 15) < 0.01
    assert by_ranks["210"] == 0 and found.absent.tolist() == [[1]]
    assert abs(found.entropies[0, 0] - 0.831445) < 4 * found.entropy_errors[0, 0] < 0.01


# H, C at order 6 and 2^15 steps, computed elsewhere with ordpy; maps vary by 0.003 between stretches, noise by 0.05.
@pytest.mark.parametrize(
    ("series", "H", "C", "within"),
    [
        (logistic_orbit, 0.630, 0.484, 0.003),
        (lambda: orbit(lambda z: (1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]), (0.1, 0.1))[:, 0], 0.555, 0.459, 0.003),
        (lambda: orbit(lambda x: x / 0.1847 if x < 0.1847 else (1 - x) / 0.8153, 0.3), 0.475, 0.399, 0.003),
        (lambda: coloured(0), 0.998, 0.005, 0.05),
        (lambda: coloured(1), 0.972, 0.063, 0.05),
        (lambda: coloured(2), 0.859, 0.231, 0.05),
        (lambda: np.sin(2 * np.pi * np.arange(STEPS) / 100.3), 0.173, 0.165, 0.003),
    ],
    ids=["logistic", "Henon", "skew tent", "white", "pink", "brown", "sine"],
)
def test_reference_places_in_the_plane(series, H, C, within):
    found = ordinal_patterns(series(), draws=0)
    assert_allclose([found.entropies[0, 0], found.complexities[0, 0]], [H, C], atol=within)
    assert all(check.passed for check in found.checks)


def test_patterns_forbidden_by_the_logistic_map():
    """1, 12, 89, 645 at orders 3 to 6 (Amigo and co-workers; counted elsewhere on 4e5 samples)."""
    x = logistic_orbit(steps=100_000)
    assert [int(ordinal_patterns(x, order=order, draws=0).absent[0, 0]) for order in (3, 4, 5, 6)] == [1, 12, 89, 645]


def test_codes_are_those_of_a_stable_sort_with_ties_at_any_delay():
    """Against argsort of every window written out: ranks by a stable sort, and windows with fewer distinct values than D."""
    x = np.random.default_rng(0).integers(0, 4, 300).astype(float)
    for delay in (1, 3):
        found = ordinal_patterns(x, order=4, delays=(delay,), draws=0)
        windows = np.stack([x[i * delay : i * delay + 300 - 3 * delay] for i in range(4)], axis=1)
        ranks = windows.argsort(axis=1, kind="stable").argsort(axis=1)
        expected = [(ranks == row).all(axis=1).mean() for row in found.patterns]
        assert_allclose(found.probabilities[0], expected, atol=1e-12)
        assert_allclose(found.tied[0, 0], np.mean([len(set(window)) < 4 for window in windows.tolist()]), atol=1e-12)


def test_series_in_a_batch_and_monotonic_functions_of_them_change_nothing():
    x = np.stack([logistic_orbit(steps=700), coloured(1, 700)])
    both = ordinal_patterns(x, order=4, draws=0)
    for row in (0, 1):
        alone = ordinal_patterns(np.exp(x[row]), order=4, draws=0)
        assert_allclose(alone.probabilities[0], both.probabilities[row], atol=0)


def test_standard_errors_are_the_spread_of_repeated_runs():
    """40 stretches of the logistic map: the spread is known to 11 %, the mean error of 40 to a few."""
    stretches = logistic_orbit(steps=40 * 2000).reshape(40, 2000)
    found = ordinal_patterns(stretches, order=3, draws=0)
    for values, errors in ((found.entropies, found.entropy_errors), (found.complexities, found.complexity_errors)):
        assert 0.65 < errors.mean() / values.std(ddof=1) < 1.5


def test_no_distribution_lies_outside_the_bounds_and_their_ends_are_zero():
    """Extremes in closed form: C = 0 at H = 0 and 1; k equal probabilities lie on the upper bound."""
    rng = np.random.default_rng(0)
    size = 24
    P = np.concatenate([rng.dirichlet(np.full(size, a), 200) for a in (0.02, 0.1, 1.0, 10.0)])
    equal = (np.arange(size) < np.arange(1, size + 1)[:, None]) / np.arange(1, size + 1)[:, None]

    def place(P):
        def entropy(p):
            return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)

        U, H = np.full_like(P, 1 / size), entropy(P) / math.log(size)
        certain = np.eye(size)[:1]

        def divergence(P):
            return entropy((P + 1 / size) / 2) - entropy(P) / 2 - entropy(U[: len(P)]) / 2

        return H, H * divergence(P) / divergence(certain)

    H, C = place(P)
    bounds = complexity_bounds(np.clip(H, 0, 1), order=4)
    assert (bounds[:, 0] - 1e-9 <= C).all() and (bounds[:, 1] + 1e-9 >= C).all()
    assert (bounds[:, 0] < bounds[:, 1] + 1e-12).all()
    H, C = place(equal)
    assert_allclose(complexity_bounds(np.clip(H, 0, 1), order=4)[:, 1], C, atol=1e-9)
    assert_allclose(complexity_bounds([0.0, 1.0], order=4), 0, atol=1e-9)


def test_greatest_complexity_at_order_6_is_0497():
    assert (
        abs(complexity_bounds(np.linspace(0, 1, 2001), order=6)[:, 1].max() - 0.497) < 5e-4
    )  # printed to three places


def test_nulls_are_beaten_by_chaos_not_by_noise_and_a_sine_is_linear():
    x = np.stack([logistic_orbit(steps=4096), coloured(1, 4096), np.sin(2 * np.pi * np.arange(4096) / 64 + 0.1)])
    found = ordinal_patterns(x, order=4)
    assert (found.linear_p[0] <= 0.05) and found.linear_p[1] > 0.05 and found.linear_p[2] > 0.05
    assert (found.shuffle_p[[0, 1, 2]] <= 0.05).all()  # pink noise has memory, which shuffling destroys
    assert found.absent_p[0] <= 0.05 < found.absent_p[1]
    assert len(found.nulls) == 15 and "1 of 3 series unlike linear noise" in found.summary()


def test_white_noise_beats_its_nulls_no_more_often_than_the_level():
    """60 series at level 0.05: more than 8 happens once in a thousand runs."""
    found = ordinal_patterns(np.random.default_rng(2).standard_normal((60, 300)), order=3)
    assert (found.shuffle_p <= 0.05).sum() <= 8 and (found.linear_p <= 0.05).sum() <= 8


@pytest.mark.parametrize("series", [lambda s: coloured(2, 1024, s), lambda s: np.exp(2 * coloured(1, 1024, s))])
def test_brown_noise_and_distorted_pink_noise_are_linear(series):
    """40 each at level 0.05 or less: more than 6 happens once in a hundred. Either null alone fails one of the two."""
    found = ordinal_patterns(np.stack([series(seed) for seed in range(40)]), order=4)
    assert (found.linear_p <= 0.05).sum() <= 6


def test_absence_bound_holds_in_white_noise():
    """Order 4, 300 steps: the bound holds for the share of 400 noises that lack a pattern, which is itself below it."""
    noise = np.random.default_rng(0).standard_normal((400, 300))
    found = ordinal_patterns(noise, order=4, draws=0)
    assert (found.absent > 0).mean() <= found.absence_bounds[0] == 24 * (23 / 24) ** 75


def test_a_constant_a_short_and_no_series():
    still = ordinal_patterns(np.full((1, 500), 0.1), order=4)
    assert still.entropies[0, 0] == 0 and still.complexities[0, 0] == 0 and still.tied[0, 0] == 1 and still.nulls == ()
    short = ordinal_patterns(np.zeros((2, 64)), order=5)
    assert (
        short.outcome is Outcome.TOO_SHORT and np.isnan(short.entropies).all() and short.absent.tolist() == [[-1], [-1]]
    )
    assert "0 of 2 series read" in short.summary() and "60 windows for 120 patterns" in short.summary()
    partly = ordinal_patterns(np.random.default_rng(0).standard_normal(200), order=3, delays=(1, 90), draws=0)
    assert np.isfinite(partly.entropies).tolist() == [[True, False]] and partly.outcome is Outcome.CONVERGED
    assert ordinal_patterns(np.zeros((0, 500)), order=3).entropies.shape == (0, 1)


def test_refusals():
    with pytest.raises(InputError, match="order=9"):
        ordinal_patterns(np.zeros(100), order=9)
    with pytest.raises(InputError, match=r"delays=\(0,\)"):
        ordinal_patterns(np.zeros(100), delays=(0,))
    with pytest.raises(InputError, match="1 of 3 entries are not finite"):
        ordinal_patterns([0.0, math.nan, 1.0])
    with pytest.raises(InputError, match="between 0 and 1"):
        complexity_bounds([1.2], order=3)


def test_draws_follow_their_generator():
    x = coloured(1, 500)
    one, same, other = (
        ordinal_patterns(x, order=3, generator=torch.Generator().manual_seed(seed)).nulls[1].draws for seed in (1, 1, 2)
    )
    assert (one == same).all() and (one != other).any()


def test_equal_to_ordpy_on_the_same_series():
    ordpy = pytest.importorskip("ordpy")
    for x in (logistic_orbit(steps=4000), coloured(2, 4000)):
        for order, delay in ((3, 1), (5, 1), (5, 7), (6, 1)):
            found = ordinal_patterns(x, order=order, delays=(delay,), draws=0)
            expected = ordpy.complexity_entropy(x, dx=order, taux=delay)
            assert_allclose([found.entropies[0, 0], found.complexities[0, 0]], expected, atol=1e-9)


def test_equal_to_antropy_on_the_same_series_ties_included():
    antropy = pytest.importorskip("antropy")
    for x in (logistic_orbit(steps=4000), np.random.default_rng(0).integers(0, 5, 4000).astype(float)):
        for order, delay in ((3, 1), (5, 2), (6, 1)):
            found = ordinal_patterns(x, order=order, delays=(delay,), draws=0)
            assert_allclose(found.entropies[0, 0], antropy.perm_entropy(x, order, delay, normalize=True), atol=1e-9)
