import math

import numpy as np
import pytest
import torch

from analyses.maps.gradient_growth import gradient_growth
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import cat_map, linear, logistic

GOLDEN = math.log((3 + math.sqrt(5)) / 2)


def specimens():
    return [
        gradient_growth(linear([[2.0, 1.0], [0.0, 0.5]]), np.ones((3, 2)), lengths=(1, 2, 4)),
        gradient_growth(linear([[0.0]]), [[1.0]], lengths=(1,)),
    ]


@pytest.mark.parametrize("slope", [2.0, -0.5])
def test_a_linear_unit_grows_by_its_slope_every_step(slope):
    found = gradient_growth(linear([[slope]], dt=0.1), [[0.3], [0.7]], lengths=(1, 5, 20))
    np.testing.assert_allclose(
        found.log_norms, math.log(abs(slope)) * np.array([[1], [5], [20]]) * [[1, 1]], atol=1e-13
    )
    assert found.rate == pytest.approx(math.log(abs(slope)) / 0.1, abs=1e-12)
    assert found.noise_shares.tolist() == [0, 0, 0]  # one gradient whatever the start
    assert found.checks[0].passed and ("explode" if slope > 1 else "vanish") in found.summary()


def test_cat_map_gradients_turn_to_the_growing_direction():
    """The transposed product is the same matrix; what is left of the other direction falls as e^(-2 GOLDEN T)."""
    found = gradient_growth(cat_map(), [[0.1, 0.2], [0.4, 0.7]], lengths=(12, 20, 40), settle=12)
    assert found.rates == pytest.approx(GOLDEN, abs=1e-9)


def test_logistic_gradients_grow_at_ln_two_within_the_error_stated():
    """f^T is sin^2(2^T a): its slope is 2^T sin(2^(T+1) a) / sin(2 a), whose second factor does not grow with T."""
    starts = torch.rand(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = gradient_growth(logistic(), starts, lengths=(8, 16, 24, 32), settle=8)
    assert abs(found.rate - math.log(2)) < 4 * found.standard_error and found.standard_error < 0.01
    assert found.noise_shares[-1] > 0.9


def test_the_loss_adds_its_own_slope():
    """(x_T)^2 = 4^T x^2 has the gradient 2 4^T x."""
    found = gradient_growth(linear([[2.0]]), [[3.0]], lengths=(1, 10), loss=lambda x: (x * x).sum(1))
    np.testing.assert_allclose(found.log_norms[:, 0], [math.log(24), math.log(6) + 20 * math.log(2)], atol=1e-12)


def test_noise_takes_over_where_the_map_expands_and_not_where_it_shrinks():
    noise = 1e-8 * np.random.default_rng(0).standard_normal((50, 1))
    wild = gradient_growth(logistic(), 0.3 + noise, lengths=(1, 40))
    assert wild.noise_shares[0] < 1e-12 and wild.noise_shares[1] > 0.5  # 1e-8 2^40 is far beyond the interval
    calm = gradient_growth(logistic(2.8), 0.3 + noise, lengths=(1, 40))
    assert calm.noise_shares.max() < 1e-12 and calm.rate < 0


def test_a_step_that_cuts_the_gradient_fails_its_check():
    cut = Dynamics(lambda x, _: 2 * x.detach() + 0 * x, dim=1)
    assert not gradient_growth(cut, [[1.0]], lengths=(3,)).checks[0].passed


def test_zero_map_constant_map_overflow_and_no_starts():
    zero = gradient_growth(linear([[0.0]]), [[1.0]], lengths=(1, 2))
    assert (zero.log_norms == -np.inf).all() and math.isnan(zero.rate) and zero.checks[0].passed
    constant = Dynamics(lambda x, _: torch.full_like(x, 0.5), dim=2)
    assert (gradient_growth(constant, np.ones((2, 2)), lengths=(1, 2)).log_norms == -np.inf).all()
    burst = gradient_growth(Dynamics(lambda x, _: x * x, dim=1), [[2.0], [0.99]], lengths=(4, 12))
    assert np.isnan(burst.log_norms[1, 0]) and np.isfinite(burst.log_norms[:, 1]).all()
    assert "1 of 2 starts" in burst.summary()
    assert gradient_growth(linear([[2.0]]), np.zeros((0, 1)), lengths=(2,)).summary().startswith("0 of 0 starts")


def test_refusals():
    with pytest.raises(InputError, match="unrolls of at least one step"):
        gradient_growth(logistic(), [[0.3]], lengths=())
    with pytest.raises(InputError, match=r"has shape \(1,\), but \(1, 1\) came"):
        gradient_growth(logistic(), [[0.3]], lengths=(1,), loss=lambda x: x)
    with pytest.raises(DrivenError, match="gradient_growth needs one map"):
        gradient_growth(Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1), [[0.3]], lengths=(1,))
