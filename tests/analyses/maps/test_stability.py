import math

import numpy as np
import pytest
import torch

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.stability import Stability, classify
from analyses.result import Outcome
from hooks.dynamics import Dynamics


def linear(matrix):
    A = torch.tensor(matrix, dtype=torch.float64)
    return find_fixed_points(Dynamics(lambda x, _: x @ A.T, dim=len(A)), 8, around=(-1.0, 1.0))


def turning(modulus, angle):
    return [
        [modulus * math.cos(angle), -modulus * math.sin(angle)],
        [modulus * math.sin(angle), modulus * math.cos(angle)],
    ]


@pytest.mark.parametrize(
    ("matrix", "kind", "unstable"),
    [
        ([[0.5, 0], [0, 0.2]], "stable node", 0),
        ([[-0.5, 0], [0, 0.2]], "stable flip", 0),
        (turning(0.9, 1.0), "stable focus", 0),
        ([[1.5, 0], [0, 0.2]], "saddle node", 1),
        ([[-1.5, 0], [0, 0.2]], "saddle flip", 1),
        (turning(1.1, 0.3), "unstable focus", 2),
    ],
)
def test_linear_maps_are_what_they_are(matrix, kind, unstable):
    stability = classify(linear(matrix))
    assert stability.kinds == (kind,)
    assert stability.unstable.tolist() == [unstable]
    assert all(check.passed for check in stability.checks)


def test_time_constants_and_rotation_are_in_clock_units():
    stability = classify(linear(turning(0.9, 0.25 * math.pi)), dt=0.1)
    assert stability.time_constants[0] == pytest.approx([-0.1 / math.log(0.9)] * 2, rel=1e-12)
    assert stability.rotations[0] == pytest.approx([1.25, 1.25], rel=1e-12)  # an eighth of a turn in 0.1
    assert stability.margins[0] == pytest.approx(0.1, abs=1e-12)


def test_eigenvalue_zero_forgets_at_once_and_one_never():
    stability = classify(linear([[0.0, 0], [0, 0.5]]))
    assert stability.time_constants[0, 1] == 0


def test_result_survives_writing():
    stability = classify(linear([[0.5, 0], [0, 0.2]]))
    again = Stability.from_dict(stability.to_dict())
    assert again.kinds == stability.kinds and np.array_equal(again.time_constants, stability.time_constants)
    assert stability.plot().get_xlabel()


def points_with(eigenvalues, dim):
    values = np.atleast_2d(np.asarray(eigenvalues, dtype=np.complex128))
    found = len(values)
    return FixedPoints(
        np.zeros((found, dim)), np.zeros(found), values, np.zeros((found, 0)), np.ones(found, dtype=np.int64),
        np.zeros(found, dtype=np.int64), (Outcome.CONVERGED,) * found, 0, (),
    )  # fmt: skip


def test_it_says_what_was_classified():
    half = Dynamics(lambda x, _: -torch.tanh(2 * x), dim=1)  # a rest at 0 and a two-cycle of +-0.9575
    assert classify(find_fixed_points(half, 8, around=(-1.0, 1.0))).periods.tolist() == [1]
    cycle = classify(find_cycles(half, 8, periods=(2,), around=(-1.0, 1.0)))
    assert cycle.periods.tolist() == [2] and cycle.kinds == ("stable node",)


def test_leading_eigenvalues_outside_do_not_make_a_wide_point_unstable_everywhere():
    """Two of five eigenvalues are kept, both outside: three unseen ones are inside, for all that is known."""
    assert classify(points_with([1.5, 1.2], 5)).kinds == ("saddle node",)
    assert classify(points_with([1.5, 1.2], 2)).kinds == ("unstable node",)
    assert classify(points_with([0.5, 0.2], 5)).kinds == ("stable node",)


def test_a_pair_cut_in_two_by_the_end_of_the_kept_ones_is_no_failed_check():
    assert classify(points_with([0.9, 0.5 + 0.1j], 5)).checks[0].passed
    assert not classify(points_with([0.9, 0.5 + 0.1j], 2)).checks[0].passed


def test_a_missing_eigenvalue_is_no_verdict():
    assert classify(points_with([0.5, np.nan], 300)).kinds == ("not classified",)
    assert "1 not classified" in classify(points_with([0.5, np.nan], 300)).summary()


def test_a_modulus_of_one_lasts_for_ever():
    assert classify(points_with([1.0, -1.0], 2)).time_constants.tolist() == [[np.inf, np.inf]]
