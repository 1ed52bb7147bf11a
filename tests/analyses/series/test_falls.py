import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from analyses.series.falls import Falls, falls
from hooks.errors import InputError

AT = np.arange(0.0, 101.0)


def logistic(middle, width=2.0):
    """From 1 to 0 about ``middle``; 0.9 and 0.1 lie width ln 9 before and after."""
    return 1 / (1 + np.exp((AT - middle) / width))


def specimens():
    return falls([logistic(40), logistic(41)], at=AT, names=("loss", "error")), falls(
        [np.ones(3)], at=[0, 1, 2], names=("flat",)
    )


def test_a_logistic_step_falls_where_it_is_known_to():
    found = falls([logistic(40.5)], at=AT, names=("loss",))
    # symmetric about 40.5, so the straight line between two checkpoints is exact there; 2 ln 9 = 4.39 to either side
    assert_allclose(found.middles, 40.5, atol=1e-9)
    assert (found.begins, found.ends) == (36.0, 45.0)
    assert found.nulls == () and np.isnan(found.spread) and not found.together


def test_a_curve_that_rises_first_and_falls_again_and_again_falls_last():
    """A number of states grows before it falls; a relapse moves the fall."""
    grows = np.concatenate([np.linspace(1, 300, 51), np.full(10, 300), np.full(40, 30)])
    assert_allclose(falls([grows], at=AT, names=("states",)).begins, 60)
    relapse = np.where((AT < 20) | ((AT > 30) & (AT < 50)), 1.0, 0.0)
    assert_allclose(falls([relapse], at=AT, names=("error",)).middles, 49.5)


def test_units_of_a_curve_do_not_matter():
    one, other = (falls([scale * logistic(40) + 3], at=AT, names=("loss",)) for scale in (1.0, 1e4))
    assert_allclose([one.begins, one.ends], [other.begins, other.ends])
    assert_allclose(one.middles, other.middles, rtol=1e-9)


def test_falls_a_step_apart_are_together_and_falls_half_a_training_apart_are_not():
    near = falls([logistic(40), logistic(41), logistic(42)], at=AT, names=("a", "b", "c"))
    far = falls([logistic(20), logistic(45), logistic(70)], at=AT, names=("a", "b", "c"))
    assert near.together and near.spread < 2.01 and not far.together
    exactly = falls([logistic(40), logistic(40)], at=AT, names=("a", "b"))
    assert exactly.spread == 0 and exactly.nulls[0].p == 1 / 1000
    # the range of three uniform places on (0, 100) has mean 50 and deviation 22.4: 999 draws, 5 standard errors
    assert_allclose(np.exp(near.nulls[0].draws).mean(), 50, atol=5 * 22.4 / 999**0.5)


def test_one_checkpoint_a_constant_and_no_curve():
    assert np.isnan(falls([[2.0]], at=[0.0], names=("one",)).middles).all()
    assert np.isnan(falls([[2.0, 2.0]], at=[0, 1], names=("flat",)).middles).all()
    none = falls(np.zeros((0, 2)), at=[0, 1], names=())
    assert none.middles.shape == (0,) and none.summary() == "0 of 0 curves fall"


def test_refusals():
    with pytest.raises(InputError, match=r"curves are \(curves, checkpoints\)"):
        falls(np.ones(3), at=[0, 1, 2], names=("one",))
    with pytest.raises(InputError, match="finite and 0 or more"):
        falls([[1.0, -1.0]], at=[0, 1], names=("one",))
    with pytest.raises(InputError, match="checkpoints ascend"):
        falls([[1.0, 0.0]], at=[1, 1], names=("one",))
    with pytest.raises(InputError, match="one half"):
        falls([[1.0, 0.0]], at=[0, 1], names=("one",), margin=0.5)


def test_summary_and_round_trip():
    one, flat = specimens()
    assert one.summary().startswith("2 of 2 curves fall: loss from 1 to") and one.summary().endswith(": together")
    assert flat.summary() == "0 of 1 curve fall"
    again = Falls.from_dict(one.to_dict())
    assert_array_equal(again.middles, one.middles)
