import numpy as np
import torch

from case_studies.liquid_time_constants import LiquidReader, measured_time_constants, random_liquid, shipped
from hooks.dynamics import rollout
from hooks.trajectory import Trajectory


def drives(runs=2, steps=5):
    return torch.randn(runs, steps, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_what_is_trained_is_the_cell_that_is_analysed():
    module = shipped("liquid")
    assert isinstance(module, LiquidReader)
    cell = module.cell()
    states = rollout(cell.dynamics(), np.zeros((2, cell.w.shape[0])), drives=drives()).states[:, 1:].copy()
    with torch.no_grad():
        np.testing.assert_allclose(
            module.readout(torch.from_numpy(states)), module(drives()), rtol=0, atol=1e-6
        )  # epsilon 1e-8
    assert not cell.w.diagonal().any() and (cell.w >= 0).all()


def test_time_constants_from_the_slope_are_those_of_the_formula():
    cell = shipped("liquid").cell()
    orbit = rollout(cell.dynamics(), np.zeros((2, cell.w.shape[0])), drives=drives())
    measured = measured_time_constants(cell, orbit)
    by_formula = cell.time_constants(
        torch.from_numpy(orbit.states[:, :-1].reshape(10, -1).copy()), drives().reshape(10, 2)
    )
    np.testing.assert_allclose(measured.states.reshape(10, -1), by_formula, rtol=1e-6)  # epsilon 1e-8 over conductances


def test_a_cell_whose_synapses_are_shut_or_open_is_at_the_ends_of_theorem_1():
    cell = random_liquid(0, units=4, strength=3.0)
    far = Trajectory(np.stack([np.full((2, 4), -30.0), np.full((2, 4), 30.0)]))  # sigmoids 0 and 1 to rounding
    shut, opened = measured_time_constants(cell, far).states[:, 0]
    np.testing.assert_allclose(shut, 1.0, rtol=1e-6)  # cm / gleak
    np.testing.assert_allclose(opened, 1 / (1 + cell.w.sum(0).numpy()), rtol=1e-6)
