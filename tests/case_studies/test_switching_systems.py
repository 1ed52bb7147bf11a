"""The drawn systems do what is known of them, and the two readers of held-out runs give the modes where the model is exact."""

import numpy as np
import pytest
import torch

from analyses.result import Outcome
from analyses.symbols.almost_linear_fit import AlmostLinearFit
from analyses.symbols.hidden_markov import hidden_markov
from analyses.symbols.mode_recovery import mode_recovery
from case_studies.switching_systems import (
    JITTER,
    LEAVES,
    STRIDE,
    border_collision,
    particle,
    regions_under,
    states_of,
    thermostat,
)
from hooks.trajectory import Trajectory


def exact_border():
    """The border-collision map at three units, (x, y, x again), the last rectified."""
    W = np.array([[1.8, 1.0, -3.6], [-0.9, 0.0, 0.2], [1.8, 1.0, -3.6]])
    return AlmostLinearFit(
        form="almost linear", relu=np.array([1]), A=np.zeros((1, 3)), W=W[None], h=np.array([[1.0, 0.0, 1.0]]),
        L=np.array([[[1.0, 0.0]]]), V=np.zeros((1, 0, 3)), g=np.zeros((1, 0)), shift=np.zeros(2), scale=np.ones(2),
        saves=np.array([1]), losses=np.zeros((1, 1)), divergences=np.zeros((1, 1)), reference=0.0,
        outcomes=(Outcome.CONVERGED,), checks=(),
    )  # fmt: skip


def test_one_rectified_unit_holds_the_border_map_and_its_regions_are_the_sides():
    seen, modes = border_collision(8, 200, np.random.default_rng(0))
    made = exact_border()
    state = torch.from_numpy(made.start(0, seen[:, 3]))
    following = made.model(0).dynamics().step(state, None).numpy()[:, :2]
    assert following == pytest.approx(seen[:, 4], abs=1e-12 * np.abs(seen).max())
    assert (regions_under(made, 0, seen) == modes).all()


def test_a_thermostat_stays_in_a_mode_for_the_time_of_its_closed_form():
    """From -1/2 to 1/2 at rate 1 towards 1 takes ln 3, and up to two steps more: thresholds are passed late, and seen so."""
    seen, modes = thermostat(16, 600, np.random.default_rng(0))
    dwells = mode_recovery(modes, modes, draws=0).dwells[0]
    assert ((dwells >= np.log(3) / STRIDE) & (dwells < np.log(3) / STRIDE + 2)).all()
    assert seen[:, 1:, 1] == pytest.approx(seen[:, :-1, 0])


def test_a_particle_leaves_its_mode_as_often_as_said_and_moves_as_its_mode_says():
    """Four standard errors sqrt(p q / n) of 2000 steps a mode or more, and of the size of the pull's residual."""
    seen, modes = particle(30, 300, np.random.default_rng(0))
    stays = np.diag(mode_recovery(modes, modes, draws=0).switches)
    assert np.abs(1 - stays - LEAVES).max() < 4 * np.sqrt(LEAVES * (1 - LEAVES) / 2000)
    now, before = np.split(seen[modes == 2], 2, axis=-1)
    left = now - before - 0.15 * ([1.0, 0.0] - before)
    assert abs(left.std() / JITTER - 1) < 4 / np.sqrt(2 * left.size)


def test_a_chain_fitted_to_some_runs_reads_others():
    seen, modes = thermostat(8, 120, np.random.default_rng(0))
    chain = hidden_markov(Trajectory(seen[:4]), states=[2], draws=0)
    assert mode_recovery(states_of(chain, seen[4:]), modes[4:]).adjusted_rand > 0.9
    empty = hidden_markov(Trajectory(np.ones((3, 40, 2))), states=[2])
    assert (states_of(empty, seen) == 0).all()
