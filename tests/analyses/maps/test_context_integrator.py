"""A hand-built context integrator, after Mante, Sussillo, Shenoy and Newsome, Nature 503 (2013): two inputs, two contexts, one
line attractor, and a selection vector (the left eigenvector of eigenvalue 1) that reads one input in each context."""

import numpy as np
import pytest
import torch

from analyses.maps.continua import chart_continuum
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.geometry import linear_geometry
from hooks.dynamics import Dynamics, rollout

UNITS, LEAK, OFF = 40, 0.2, 4.0  # a unit driven by OFF is saturated: its gain is 1 - tanh(4)^2 = 0.0013


def unit(vector):
    return vector / vector.norm()


@pytest.fixture(scope="module")
def network():
    """x' = (1 - a) x + a (m (n . tanh x) + b_1 u_1 + b_2 u_2 + bias of the context), n over both populations."""
    generator = torch.Generator().manual_seed(0)
    half = UNITS // 2
    first = torch.arange(UNITS) < half
    n = torch.randn(UNITS, generator=generator, dtype=torch.float64)
    n -= torch.where(
        first, n[first].mean(), n[~first].mean()
    )  # a saturated population adds n . 1 = 0: the line rests at 0
    # m drives each population along its own n: in either context alone n . m = 1 over the units that are on
    m = torch.where(first, n / n[first].square().sum(), n / n[~first].square().sum())
    inputs = torch.stack([torch.where(first, n, 0.0), torch.where(first, 0.0, n)], dim=1)
    contexts = OFF * torch.stack([(~first).double(), first.double()], dim=1)
    W_in = torch.cat([0.1 * inputs, contexts], dim=1)

    def step(x, u):
        return (1 - LEAK) * x + LEAK * (torch.tanh(x) @ n[:, None] * m + u @ W_in.T)

    return Dynamics(step, dim=UNITS, driven=True, inputs=4, name="context integrator"), n, first


@pytest.mark.parametrize("context", [0, 1])
def test_the_selection_vector_of_each_context_is_recovered(network, context):
    dynamics, n, first = network
    drive = np.array([0.0, 0.0, 1.0, 0.0] if context == 0 else [0.0, 0.0, 0.0, 1.0])
    found = find_fixed_points(dynamics.hold(drive), np.zeros((1, UNITS)))
    geometry = linear_geometry(dynamics, found.points, drive=drive)
    gains = 1 - np.tanh(found.points[0]) ** 2
    selection = unit(torch.as_tensor(gains) * n).numpy()  # J = (1 - a) I + a m (g n)': its left eigenvector is g n
    assert abs(geometry.eigenvalues[0, 0].imag) < 1e-12
    assert abs(np.vdot(geometry.left[0, :, 0], selection)) / np.linalg.norm(geometry.left[0, :, 0]) > 0.999
    on = first if context == 0 else ~first
    assert np.linalg.norm(selection[on]) > 0.999  # it reads the units of its own context
    read = geometry.input_alignment[0, 0, :2]
    assert read[context] > 0.999 and read[1 - context] < 0.01


def test_a_pulse_of_the_relevant_input_is_kept_and_one_of_the_other_is_not(network):
    dynamics, *_ = network
    rest = np.array([0.0, 0.0, 1.0, 0.0])
    held = dynamics.hold(rest)
    start = find_fixed_points(held, np.zeros((1, UNITS))).points[0]
    moved = []
    for channel in (0, 1):
        drives = np.tile(rest, (60, 1))
        drives[0, channel] = 1.0
        ends = rollout(dynamics, start, drives=drives).states[0, -1]
        moved.append(np.linalg.norm(ends - start))
    assert moved[0] > 100 * moved[1]


def test_the_line_is_charted_with_its_slow_drift(network):
    """tanh bends the line: it is a curve of slow points, whose drift vanishes at its rest and stays small around it."""
    dynamics, n, _ = network
    rest = dynamics.hold([0.0, 0.0, 1.0, 0.0])
    point = find_fixed_points(rest, np.zeros((1, UNITS))).points[0]
    line = chart_continuum(rest, point, box=(point - 0.3, point + 0.3), near=0.1)
    assert not line.closed and (line.near_null == 1).all() and len(line.points) > 3
    assert line.transverse.max() == pytest.approx(1 - LEAK, abs=1e-6)
    along = line.points[-1] - line.points[0]
    m = np.where(np.arange(UNITS) < UNITS // 2, n / (n[: UNITS // 2] ** 2).sum(), n / (n[UNITS // 2 :] ** 2).sum())
    assert abs(along @ m) / np.linalg.norm(along) / np.linalg.norm(m) > 0.999
