"""The error of a memory has closed forms, and the power law's Laplace integral gives it back."""

import math

import numpy as np
import pytest
import torch

from analyses.maps.memory_function import memory_function
from case_studies.memory_of_rnns import FAR, HORIZON, RATES, UNDONE, KernelError, fitted, network, written_down


def weights(rates, c):
    return torch.tensor([[*rates, *c]], dtype=torch.float64)


def test_the_error_is_the_integral_of_the_squared_difference_over_the_targets_own():
    error = KernelError("exponential", "as they are", HORIZON)
    assert error(weights([-1, -1], [0.25, 0.75])).item() == pytest.approx(0, abs=1e-25)
    assert error(weights([-3], [0])).item() == pytest.approx(1, rel=1e-12)
    # int (e^-t - e^-2t)^2 = 1/2 - 2/3 + 1/4 over int e^-2t = 1/2; the trapezoid rule of 200 lags errs by some 1e-3
    assert error(weights([-2], [1])).item() == pytest.approx(1 / 6, rel=3e-3)


@pytest.mark.parametrize("written", list(RATES))
def test_ways_to_write_rates_undo_each_other_and_are_one_network(written):
    rates = torch.tensor([-1e-2, -0.3, -1.0], dtype=torch.float64)
    M = UNDONE[written](rates)
    torch.testing.assert_close(RATES[written](M), rates, rtol=1e-12, atol=0)
    c = [0.2, -0.1, 0.7]
    one, other = (
        KernelError("power law", way, HORIZON)(weights(m, c)) for way, m in (("as they are", rates), (written, M))
    )
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_the_power_law_is_its_laplace_integral_and_needs_ever_slower_rates():
    found = written_down("power law", (4, 16, 64))
    errors = [KernelError("power law", "as they are", FAR)(group).item() for group in found]
    slowest = [group[0, : len(group[0]) // 2].max().item() for group in found]
    # fast rates above u = 1.5 are cut off, which leaves their share of the memory at short lags, however many units
    assert errors[0] > 20 * errors[1] > 20 * errors[2] and errors[2] < 1e-6
    assert slowest[0] < slowest[1] < slowest[2] < 0


def test_a_fit_of_an_exponential_remembers_it():
    (fit,) = fitted("exponential", "as exp", (4,), seeds=1, updates=1500)
    M, c = fit[0].chunk(2)
    memory = memory_function(network(torch.cat([-torch.exp(M), c]), 0.1), np.zeros(4), steps=30)
    # an error of the whole of 1e-4 is one of 1 % at a lag, in shares of the memory at 0
    np.testing.assert_allclose(memory.memory, np.exp(-0.1 * np.arange(30)), atol=0.03)
    assert memory.rate / 0.1 == pytest.approx(-1, abs=0.1) and math.isfinite(memory.slowest)
