"""Hidden units, tokens of a state-space model and a stream through depth enter the analyses of series as Trajectories."""

import numpy as np
import pytest
import torch

import interp
from analyses.result import Outcome
from analyses.series.complexity import sample_entropy
from analyses.series.long_range import long_range
from analyses.series.multifractal import mfdfa
from analyses.series.ordinal import ordinal_patterns
from analyses.series.wavelet_leaders import wavelet_leaders
from analyses.series.zero_one import zero_one_test
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.stack import record_stream, stack_of
from hooks.trajectory import Trajectory
from tests.tiny import tiny, tokens


def test_every_unit_of_every_run_is_a_series():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((2, 300, 3))
    path = Trajectory(states)
    assert np.array_equal(path.series()[4], states[1, :, 1])
    for analysis in (ordinal_patterns, sample_entropy, zero_one_test):
        own, same = (vars(analysis(given)) for given in (path, states.transpose(0, 2, 1).reshape(6, 300)))
        arrays = {name for name, value in own.items() if isinstance(value, np.ndarray)}
        assert arrays
        for name in arrays:
            np.testing.assert_array_equal(own[name], same[name])


def test_units_of_a_trained_gru_are_asked_by_the_hundred():
    network = interp.load("case_studies/weights/flip_flop_gru.safetensors")
    dynamics = network.dynamics()
    drives = np.random.default_rng(0).normal(size=(2, 1024, dynamics.inputs))
    path = rollout(dynamics, torch.zeros(2, dynamics.dim), drives=drives)
    found = mfdfa(path)
    assert len(found.outcomes) == 2 * dynamics.dim


def test_depth_is_too_short_and_it_is_said():
    stack = stack_of(tiny("gpt2"))
    stream = record_stream(stack, tokens(2, 6), positions=-1)
    for analysis in (mfdfa, wavelet_leaders, long_range):
        assert set(analysis(stream).outcomes) == {Outcome.TOO_SHORT}


def test_runs_of_several_lengths_are_refused():
    states = np.random.default_rng(0).standard_normal((2, 50, 2))
    states[1, 40:] = np.nan
    with pytest.raises(InputError, match="40 to 50 steps"):
        ordinal_patterns(Trajectory(states, lengths=np.array([50, 40])))
