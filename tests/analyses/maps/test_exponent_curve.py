"""Exponents that are known at each value of the parameter, their scatter between replicates, and where they cross zero."""

import math

import numpy as np
import pytest
import torch

from analyses.maps._dimension import kaplan_yorke
from analyses.maps.exponent_curve import exponent_curve
from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.dynamics import Dynamics
from hooks.errors import InputError


def scaled():
    """(a x, x' / 4) with a the drive: exponents ln |a| and -ln 4."""
    quarter = torch.tensor([1.0, 0.25], dtype=torch.float64)
    return Dynamics(lambda x, a: x * torch.cat([a, torch.ones_like(a)], -1) * quarter, dim=2, driven=True, inputs=1)


def measured(values, steps=40):
    drives = torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, steps + 20, 1)
    starts = torch.zeros(len(values), 2, dtype=torch.float64)
    return lyapunov_spectrum(scaled(), starts, steps=steps, burn_in=20, drives=drives)


def specimens():
    """One that crosses zero, and one whose every run left all bounds."""
    grown = lyapunov_spectrum(
        Dynamics(lambda x, a: x * a, dim=1, driven=True, inputs=1),
        np.ones((2, 1)), steps=400, drives=np.full((2, 400, 1), 1e3),
    )  # fmt: skip
    return [
        exponent_curve(measured([0.5, 2.0]), [0.5, 2.0], parameter="a"),
        exponent_curve(grown, [0.0, 1.0]),
    ]


def test_exponents_over_a_parameter_are_those_of_each_value_whatever_the_order():
    values = [2.0, 0.5, 2.0, 0.5, 3.0]
    found = exponent_curve(measured(values), values, parameter="a")
    assert found.values.tolist() == [0.5, 2.0, 3.0] and found.replicates.tolist() == [2, 2, 1]
    # diagonal: ln |a| and -ln 4 to what the frame keeps of its start, (1/8)^20
    assert found.exponents[:, 0] == pytest.approx(np.log([0.5, 2.0, 3.0]), abs=1e-9)
    assert found.exponents[:, 1] == pytest.approx(-math.log(4), abs=1e-9)
    assert found.standard_errors[:2] == pytest.approx(0, abs=1e-9) and np.isnan(found.standard_errors[2]).all()
    assert found.positive.tolist() == [0, 1, 1]
    assert found.dimensions == pytest.approx(
        [0, 1 + math.log(2) / math.log(4), 1 + math.log(3) / math.log(4)], abs=1e-9
    )
    # a straight line from -ln 2 at 0.5 to ln 2 at 2
    assert found.crossing == pytest.approx(1.25, abs=1e-9) and "turns positive at 1.25" in found.summary()


def test_the_standard_error_is_that_of_the_mean_over_replicates():
    found = exponent_curve(measured([0.5, 0.25, 2.0]), [0.0, 0.0, 0.0])
    spread = np.log([0.5, 0.25, 2.0]).std(ddof=1) / math.sqrt(3)
    assert found.exponents[0, 0] == pytest.approx(np.log([0.5, 0.25, 2.0]).mean(), abs=1e-9)
    assert found.standard_errors[0, 0] == pytest.approx(spread, abs=1e-9)
    assert math.isnan(found.crossing) and "without a change from negative to positive" in found.summary()


def test_values_without_a_bounded_run_are_told():
    lost = specimens()[1]
    assert lost.replicates.tolist() == [0, 0] and np.isnan(lost.exponents).all() and math.isnan(lost.crossing)
    assert lost.summary() == "0 of 2 values of parameter have bounded runs"


def test_dimensions_of_many_spectra_are_the_textbook_ones():
    lorenz = np.array([0.9056, 0.0, -14.5723])
    henon = np.array([0.41922, -1.62319, -9.0])
    rows = np.stack([lorenz, henon, [-0.1, -0.2, -0.3], [0.0, -1.0, -2.0], [1.0, 0.0, -1.0], [1.0, -np.inf, -np.inf]])
    found = kaplan_yorke(rows)
    assert found[:2] == pytest.approx([2.06215, 1.25827], abs=1e-5)  # Sprott's table
    assert found[2:4].tolist() == [0, 1] and math.isnan(found[4]) and found[5] == 1


def test_a_value_for_each_start_is_needed():
    with pytest.raises(InputError, match=r"one finite value a start is needed, 2 of them, but \(3,\) came"):
        exponent_curve(measured([0.5, 2.0]), [1.0, 2.0, 3.0])
