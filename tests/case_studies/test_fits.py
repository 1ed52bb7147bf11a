"""Kept fits come back as they were, models that overflow are left out, and codes of turns and beats say what was put in."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.signal import resample_poly

from analyses.symbols.almost_linear_fit import TeacherForcing, fit_almost_linear
from analyses.symbols.region_table import region_table
from analyses.symbols.regions import regions
from case_studies import _fits
from case_studies.almost_linear_fmri import _saddle_spiral, _virtual_sink, _weights_beside
from case_studies.almost_linear_heartbeat import BEAT, BEFORE, DIMS, _entered, _peaks, embedded, stand_in
from case_studies.almost_linear_rossler import by_turn
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory
from interp.journal import Journal


def small_fit(steps=3):
    t = np.arange(400) / 5
    recipe = TeacherForcing(steps=steps, every=4, length=8, batch=2)
    return fit_almost_linear(
        np.stack([np.sin(t), np.cos(t)], axis=1), 4, 1, runs=2, recipe=recipe, select_every=steps, orbit=50
    )


def test_a_kept_fit_is_the_one_that_was_written(tmp_path, monkeypatch):
    fit = small_fit()
    _fits.write_fit(fit, tmp_path / "fit.safetensors")
    monkeypatch.setattr(_fits, "shipped_weights", lambda name: load_file(tmp_path / f"{name}.safetensors"))
    assert _fits.kept_fit("fit").to_dict() == fit.to_dict()  # trained in float32, so nothing is rounded


def test_orbits_that_overflow_are_left_out_and_the_account_says_so():
    fit = small_fit()
    fit.A[:], fit.W[:] = 2.0, 0.0
    assert len(_fits.free_runs(fit, 0, orbits=3, steps=2000, burn_in=10).states) == 0
    found = _fits.account(Journal(), fit, orbits=3, steps=2000, note="")
    assert found.order == () and found.sentences == ("0 of 2 models run freely without overflowing.",)


def test_free_runs_of_a_contraction_end_at_its_fixed_point():
    fit = small_fit()
    fit.A[:], fit.W[:], fit.h[:] = 0.5, 0.0, 1.0
    orbits = _fits.free_runs(fit, 1, orbits=3, steps=5, burn_in=100)
    assert orbits.states.shape == (3, 5, 4) and np.abs(orbits.states - 2.0).max() < 1e-12  # h / (1 - A)


def test_a_turn_says_whether_it_enters_another_region():
    t = np.arange(400)
    x = np.cos(2 * np.pi * t / 20)
    enters = [0, 1, 1, 0, 1, 0, 0, 1] * 3  # turn k goes from step 20 k
    symbols = ((t % 20 == 10) & np.array(enters)[t // 20].astype(bool)).astype(np.int64)
    turns = by_turn(regions(symbols), Trajectory(x[None, :, None]))
    # a maximum on the first step is none, and the last turn is cut
    assert turns.labels[turns.symbols[0]].tolist() == enters[1:19]
    assert turns.coding == "turns" and turns.duration == 400


def test_one_channel_of_a_heartbeat_is_thinned_and_delayed():
    beats = stand_in(3000)
    assert np.mean(np.diff(_peaks(beats))) == pytest.approx(BEAT, rel=0.03)  # 44 beats of 5 %: 0.8 % of error
    points = embedded(resample_poly(beats, 3, 1)[:, None])
    assert points.shape[1] == DIMS and np.mean(np.diff(_peaks(points[:, 0]))) == pytest.approx(BEAT, rel=0.03)
    assert embedded(np.zeros((10, 2))).shape == (10, 2)  # several channels are taken as they come
    with pytest.raises(InputError, match="0 beats stand out of the recording"):
        embedded(np.zeros((100, 1)))


def test_windows_that_enter_a_region_are_counted_by_its_rank_in_the_whole_code():
    windows = np.zeros((4, BEFORE), dtype=np.int64)
    windows[0, 3], windows[1:3, 5] = 2, 1
    assert _entered(regions(windows), 2) == 0.25 and _entered(regions(windows), 1) == 0.5
    assert _entered(regions(windows), 3) == 0.0


def test_weights_that_are_the_recording_s_correlate_as_it_does():
    fit, draw = small_fit(), np.random.default_rng(0)
    recorded = draw.normal(size=(50, 4)) @ draw.normal(size=(4, 4))
    object.__setattr__(fit, "W", recorded.T[None])
    assert "r = 1," in _weights_beside(fit, 0, recorded)


@pytest.mark.parametrize("size", [0.5, 1.5])
def test_a_virtual_sink_and_a_saddle_spiral_are_told_by_eigenvalues_and_by_where_the_point_lies(size):
    # z1, z2 turn by a right angle and grow or shrink by ``size``; z3' = z3 / 2 - 1 rests at -2 from either side of its border
    W = torch.zeros(3, 3, dtype=torch.float64)
    W[0, 1], W[1, 0] = -size, size
    A, h = torch.tensor([0, 0, 0.5]).double(), torch.tensor([0, 0, -1]).double()
    states = np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]])
    table = region_table(PiecewiseLinear(A, W, h, 1), Trajectory(states))
    assert sorted(table.real.tolist()) == [False, True]
    assert _virtual_sink(table) == (size < 1) and _saddle_spiral(table) == (size > 1)
