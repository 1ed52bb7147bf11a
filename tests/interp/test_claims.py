import math

import pytest

from interp.claims import AGREES, DIFFERS, UNMEASURED, Claim


@pytest.mark.parametrize(("measured", "verdict"), [(8.0, AGREES), (9.0, AGREES), (9.1, DIFFERS), (math.inf, DIFFERS)])
def test_a_claim_agrees_within_its_tolerance(measured, verdict):
    row = Claim("points", 8, "table 1", 1, "counts differ by one", lambda results: measured).row({})
    assert row.verdict == verdict and row.paper == 8


def test_a_scale_that_does_not_measure_gives_a_row_that_says_so():
    row = Claim("points", 8, "table 1", 0, "a count", lambda results: len(results["points"].points)).row({})
    assert row.verdict == UNMEASURED and row.to_dict()["measured"] is None


def test_a_measurement_that_fails_for_another_reason_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        Claim("points", 8, "table 1", 0, "a count", lambda results: 1 / 0).row({})
