import math

import numpy as np
import pytest
import torch

from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.stability import Stability, classify
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
