import math

import numpy as np
import pytest
import torch

from analyses.maps.carriers import exponent_carriers
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear

W = torch.tensor([[0.9, 0.3, 0.1], [0.2, 0.5, 0.2], [0.1, 0.1, 0.1]], dtype=torch.float64)


def specimens():
    return [
        exponent_carriers(linear(W), np.zeros(3), steps=8),
        exponent_carriers(linear([[0.0]]), [0.0], steps=2, burn_in=1),
    ]


def gains(steps, dim=3, seed=0):
    return 1 + 0.5 * torch.rand(steps, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scaled_by_drive(matrix):
    """x' = diag(u) A x: its Jacobians are a random product, whatever the orbit."""
    return Dynamics(lambda x, u: (x @ matrix.T) * u, dim=len(matrix), driven=True, inputs=len(matrix))


def grown(matrix, drives, first, last, directions):
    """Sum of the leading growth rates of the product, by a QR of its own."""
    frame, total = torch.eye(len(matrix), dtype=torch.float64)[:, :directions], 0.0
    for t, gain in enumerate(drives[:last]):
        frame, upper = torch.linalg.qr((gain[:, None] * matrix) @ frame)
        total += float(upper.diagonal().abs().log().sum()) if t >= first else 0.0
    return total / (last - first)


@pytest.mark.parametrize("directions", [1, 2])
def test_on_one_matrix_shares_are_the_derivatives_of_its_leading_eigenvalues(directions):
    found = exponent_carriers(linear(W), np.zeros(3), steps=5, directions=directions, burn_in=100)
    values, right = np.linalg.eig(W.numpy())
    left = np.linalg.inv(right)
    leading = np.argsort(-np.abs(values))[:directions]
    by_hand = sum(np.outer(left[k], right[:, k]) / values[k] for k in leading) * W.numpy()  # d ln l = u dA v / (l u v)
    # moduli 1.02, 0.40 and 0.08: converged after 100 steps to rounding
    np.testing.assert_allclose(found.shares, by_hand.real, rtol=0, atol=1e-12)
    assert found.exponent_sum == pytest.approx(np.log(np.abs(values[leading])).sum(), abs=1e-12)
    assert found.halves == pytest.approx(1) and found.checks[0].passed


@pytest.mark.parametrize("directions", [1, 2])
def test_in_a_random_product_a_share_is_what_a_weight_is_worth_by_finite_differences(directions):
    drives, steps, burn_in = gains(600), 400, 100
    found = exponent_carriers(
        scaled_by_drive(W), np.zeros(3), steps=steps, directions=directions, burn_in=burn_in, drives=drives
    )
    width = 1e-4
    for i, j in ((0, 1), (1, 1), (2, 0)):
        up, down = W.clone(), W.clone()
        up[i, j] *= 1 + width
        down[i, j] *= 1 - width
        sides = [grown(matrix, drives, burn_in, burn_in + steps, directions) for matrix in (up, down)]
        # the part that telescopes changes by some 1 / steps of the share
        assert found.shares[i, j] == pytest.approx((sides[0] - sides[1]) / (2 * width), abs=2 / steps)
    assert found.checks[0].passed and found.checks[0].got == pytest.approx(directions)


def test_a_loop_with_one_slope_shares_by_its_edges_and_clock_units_scale_the_sum_only():
    ring = torch.tensor([[0.0, 0.0, 2.0], [0.5, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    # three steps round multiply by 3; every exponent is ln 3 / 3, and all three directions carry a third by each edge
    found = exponent_carriers(linear(ring, dt=0.5), np.zeros(3), steps=6, directions=3, burn_in=3)
    np.testing.assert_allclose(found.shares, (ring > 0).double(), rtol=0, atol=1e-12)
    assert found.exponent_sum == pytest.approx(math.log(3) / 0.5, abs=1e-12)


def test_an_annihilated_direction_gives_nan_and_says_so():
    found = exponent_carriers(linear([[1.0, 0.0], [0.0, 0.0]]), np.zeros(2), steps=2, directions=2, burn_in=1)
    assert np.isnan(found.shares).any() and not found.checks and "annihilated" in found.summary()


def test_misuse_is_refused():
    with pytest.raises(InputError, match="2 starts, steps=1"):
        exponent_carriers(linear(W), np.zeros((2, 3)), steps=1)
    with pytest.raises(InputError, match="need one start, a step and 1 to 3 directions"):
        exponent_carriers(linear(W), np.zeros(3), steps=1, directions=4)
    with pytest.raises(DrivenError, match="exponent_carriers without drives"):
        exponent_carriers(scaled_by_drive(W), np.zeros(3), steps=1)
    with pytest.raises(InputError, match="201 drives are needed"):
        exponent_carriers(scaled_by_drive(W), np.zeros(3), steps=1, drives=gains(200))
