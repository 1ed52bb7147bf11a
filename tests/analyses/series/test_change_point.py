import numpy as np
import pytest

from analyses.result import Outcome
from analyses.series.change_point import change_point, lead_of_change
from hooks.errors import InputError


def noise(rows, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, steps))


def steps_at(places, height, steps=60, seed=0):
    """Unit noise with one step in each row."""
    return noise(len(places), steps, seed) + height * (np.arange(steps) >= np.asarray(places)[:, None])


def specimens():
    early, none = change_point(steps_at([20, 25], 6), bootstraps=20), change_point(np.zeros((2, 60)), bootstraps=20)
    return [
        early,
        change_point(np.zeros((1, 5)), bootstraps=20),
        lead_of_change(early, change_point(steps_at([40, 45], 6), bootstraps=20)),
        lead_of_change(early, none),
    ]


def test_large_step_is_found_where_it_is():
    """With a step of six deviations a neighbour is preferred once in 700 (the normal tail beyond 3)."""
    found = change_point(steps_at([15, 30, 45], 6), times=10 * np.arange(60))
    assert found.places.tolist() == [150, 300, 450]
    assert found.verdicts == ("abrupt",) * 3
    assert (found.low <= found.places).all() and (found.places <= found.high).all()
    # means over 15 points at least of unit variance: three deviations are 0.8, of their difference 1.1
    assert found.after - found.before == pytest.approx(6, abs=1.1)
    assert found.checks[0].passed


def test_straight_line_has_its_best_step_in_the_middle_and_is_gradual():
    """n even: levels n / 2 apart explain n^3 / 16 of n (n^2 - 1) / 12; the steady course is the line itself."""
    n = 40
    found = change_point(np.arange(n))
    assert found.places[0] == n / 2 and found.verdicts == ("gradual",)
    assert found.shares[0] == pytest.approx(0.75 * n**2 / (n**2 - 1), abs=1e-12)
    assert found.nulls[1].draws == pytest.approx(found.shares[0], abs=1e-12)


def test_corner_of_a_broken_line_is_exact():
    at = np.arange(50) * 0.5
    found = change_point(3 + at - 3 * np.maximum(at - 10, 0), times=at, kind="slope")
    assert found.places[0] == 10 and found.shares[0] == pytest.approx(1, abs=1e-12)
    assert (found.before[0], found.after[0]) == pytest.approx((1, -2), abs=1e-10)
    assert found.verdicts == ("abrupt",)
    bent = change_point(3 + at - 3 * np.maximum(at - 10, 0) + 0.2 * noise(1, 50), times=at, kind="slope")
    assert bent.verdicts == ("abrupt",) and abs(bent.places[0] - 10) <= 0.5
    curved = change_point(0.1 * at**2 + 0.2 * noise(1, 50), times=at, kind="slope")
    assert curved.verdicts == ("gradual",)
    assert change_point(at + noise(1, 50), times=at, kind="slope").verdicts == ("none",)


def test_noise_has_no_change_and_a_smooth_fall_is_abrupt_where_a_line_is_not():
    found = change_point(noise(200, 40), bootstraps=1)
    # each null is beaten from above at p = 0.05 two-sided: 5 of 200 expected; 15 is more than four deviations above
    assert found.verdicts.count("none") >= 185
    at, shaky = np.arange(100), 0.05 * noise(1, 100)
    fall = change_point(1 / (1 + np.exp((at - 60) / 3)) + shaky)
    line = change_point(1 - at / 100 + shaky)
    assert fall.verdicts == ("abrupt",) and fall.places[0] == pytest.approx(60, abs=3)
    assert line.verdicts == ("gradual",)


def test_interval_covers_the_place():
    """100 steps of two deviations: at 95 % all but 5; 14 missing is more than four deviations above."""
    found = change_point(steps_at([30] * 100, 2), block=1, draws=1)
    assert ((found.low <= 30) & (found.high >= 30)).sum() >= 86


def test_units_of_value_and_time_change_nothing_but_themselves():
    y = steps_at([20], 3)
    one, other = change_point(y), change_point(7 - 5 * y, times=100 + 2.0 * np.arange(60))
    assert other.places[0] == 100 + 2 * one.places[0] and other.shares[0] == pytest.approx(one.shares[0], abs=1e-12)
    assert other.after - other.before == pytest.approx(-5 * (one.after - one.before), abs=1e-9)


def test_constant_short_and_no_series():
    found = change_point(np.full((1, 20), 3.0))
    assert found.verdicts == ("constant",) and np.isnan(found.places[0]) and found.nulls == ()
    assert found.summary() == "0 of 1 series change in mean, 0 abruptly"
    short = change_point(np.arange(7.0))
    assert short.outcome is Outcome.TOO_SHORT and "0 of 1 series tested" in short.summary()
    assert change_point(np.zeros((0, 20))).places.shape == (0,)


def test_lead_is_the_difference_of_places_and_its_sign_is_tested():
    first, second = change_point(steps_at([10] * 8, 6)), change_point(steps_at([40] * 8, 6, seed=1))
    lead = lead_of_change(first, second)
    assert lead.leads.tolist() == [30] * 8 and lead.positive == 8 and lead.abrupt.all()
    assert lead.p == pytest.approx(2 * 0.5**8)
    assert (lead.low > 0).all() and lead_of_change(second, first).negative == 8
    same = lead_of_change(first, first)
    assert same.ties == 8 and same.p == 1


def test_no_lead_where_nothing_changes_or_only_gradually():
    first = change_point(steps_at([10] * 3, 6))
    lead = lead_of_change(first, change_point(np.stack([np.zeros(60), noise(1, 60, 3)[0], np.arange(60.0)])))
    assert np.isnan(lead.leads[:2]).all() and lead.leads[2] == 20 and not lead.abrupt.any()
    assert lead.summary().endswith("both changes are abrupt in 0, so that no lead is shown")


def test_refusals():
    with pytest.raises(InputError, match=r"times are ascending, one for each of 20 points"):
        change_point(np.zeros(20), times=np.zeros(20))
    with pytest.raises(InputError, match="block=0"):
        change_point(np.zeros(20), block=0)
    with pytest.raises(InputError, match="entries are not finite"):
        change_point([0.0, np.nan] * 10)
    with pytest.raises(
        InputError, match=r"equal numbers of series and of bootstraps, but \(1, 400\) and \(2, 400\) came"
    ):
        lead_of_change(change_point(np.zeros(20)), change_point(np.zeros((2, 20))))
