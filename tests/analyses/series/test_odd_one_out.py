import numpy as np
import pytest

from analyses.result import Outcome
from analyses.series.odd_one_out import odd_one_out
from hooks.errors import InputError


def apart(points):
    return np.linalg.norm(points[:, None] - points, axis=2)


def specimens():
    return [
        odd_one_out(apart(np.random.default_rng(0).standard_normal((6, 2))), draws=19),
        odd_one_out(np.full((2, 2), np.nan)),
    ]


def test_a_point_far_from_a_cloud_stands_out_and_is_named():
    points = np.random.default_rng(0).standard_normal((20, 3))
    points[7] += 12
    found = odd_one_out(apart(points), names=[f"run {number}" for number in range(20)])
    assert found.stands_out and found.furthest == 7 and found.nulls[0].p == pytest.approx(1e-3)
    assert "20 of 20 networks asked: run 7 stands out" in found.summary()
    np.testing.assert_allclose(found.means, apart(points).sum(axis=1) / 19)


@pytest.mark.parametrize(("networks", "dim"), [(8, 1), (12, 3), (20, 10)])
def test_of_gaussian_clouds_one_in_twenty_has_an_odd_one_at_most(networks, dim):
    """100 clouds at the 5 % level: 5 expected, and 12 or more of a binomial in one test of 250."""
    rng = np.random.default_rng(networks)
    clouds = rng.standard_normal((100, networks, dim))
    assert sum(odd_one_out(apart(cloud), draws=99).stands_out for cloud in clouds) < 12


def test_scale_and_order_do_not_matter():
    points = np.random.default_rng(1).standard_normal((9, 2))
    points[0] += 9
    plain, other = odd_one_out(apart(points)), odd_one_out(1000 * apart(points[::-1]))
    assert plain.furthest == 0 and other.furthest == 8 and plain.stands_out == other.stands_out
    assert plain.deviations[0] == pytest.approx(other.deviations[8], rel=1e-9)


def test_two_kinds_of_equal_number_have_no_odd_one():
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.standard_normal((10, 2)), 20 + rng.standard_normal((10, 2))])
    assert not odd_one_out(apart(points)).stands_out


def test_copies_to_rounding_have_no_odd_one_but_a_planted_one_among_them_is():
    copies = np.abs(np.random.default_rng(3).normal(0, 1e-9, (8, 8)))
    copies = copies + copies.T
    np.fill_diagonal(copies, 0)
    assert not odd_one_out(copies).stands_out
    planted = copies.copy()
    planted[2], planted[:, 2] = 0.5, 0.5
    planted[2, 2] = 0
    found = odd_one_out(planted)
    assert found.stands_out and found.furthest == 2


def test_a_network_without_distances_is_left_out_and_three_are_too_few():
    points = np.random.default_rng(4).standard_normal((6, 2))
    matrix = apart(points)
    matrix[3], matrix[:, 3] = np.nan, np.nan
    found = odd_one_out(matrix)
    assert np.isnan(found.means[3]) and found.furthest != 3 and "5 of 6 networks asked" in found.summary()
    few = odd_one_out(apart(points[:3]))
    assert few.outcome is Outcome.TOO_SHORT and few.furthest == -1 and not few.stands_out
    assert few.summary() == "3 of 3 networks asked: 4 are needed to tell one from the spread of the others"


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.zeros((3, 2)), {}, r"3 named networks came with shape \(3, 2\)"),
        (np.zeros((4, 4)), {"names": ("a",)}, "1 named networks"),
        (-np.ones((4, 4)), {}, "symmetric, finite and not negative"),
        (np.triu(np.ones((4, 4))), {}, "symmetric"),
        (np.zeros((4, 4)), {"draws": 3}, "19 draws at least"),
    ],
)
def test_refusals(matrix, options, message):
    with pytest.raises(InputError, match=message):
        odd_one_out(matrix, **options)
