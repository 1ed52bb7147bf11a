"""Processes against what is known of them: matrices, entropies in closed form, counts of beliefs, Bayes' rule by sums."""

import itertools
import math

import numpy as np
import pytest
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.trajectories.box_dimensions import box_dimensions
from case_studies._processes import golden_mean, mess3, rrxor
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.trajectory import Trajectory


def test_mess3_is_as_printed():
    """arXiv 2405.15943, section 3: a = 0.85, x = 0.05, b = 0.075, y = 0.9; the first token's matrix."""
    a, x, b, y = 0.85, 0.05, 0.075, 0.9
    printed = np.array([[a * y, b * x, b * x], [a * x, b * y, b * x], [a * x, b * x, b * y]])
    process = mess3()
    np.testing.assert_allclose(process.transitions[0], printed, atol=1e-15)
    for turn in (1, 2):  # the tokens play one role in turn
        rolled = np.roll(process.transitions[0], (turn, turn), (0, 1))
        np.testing.assert_allclose(process.transitions[turn], rolled, atol=1e-15)


@pytest.mark.parametrize("process", [mess3(), rrxor(), golden_mean()], ids=lambda process: process.name)
def test_rows_are_distributions_and_beliefs_are_what_all_paths_sum_to(process):
    np.testing.assert_allclose(process.transitions.sum((0, 2)), 1, atol=1e-15)
    np.testing.assert_allclose(process.stationary @ process.transitions.sum(0), process.stationary, atol=1e-14)
    words, p = process.histories(4)
    assert p.sum() == pytest.approx(1, abs=1e-14) and len(np.unique(words, axis=0)) == len(words)
    states = range(len(process.stationary))
    for word, share, belief in list(zip(words, p, process.beliefs(words), strict=True))[::5]:
        joint = np.zeros(len(states))
        for path in itertools.product(states, repeat=5):
            steps = process.transitions[word, list(path[:-1]), list(path[1:])]
            joint[path[-1]] += process.stationary[path[0]] * steps.prod()
        assert joint.sum() == pytest.approx(share, abs=1e-15)
        np.testing.assert_allclose(belief[-1], joint / joint.sum(), atol=1e-12)


def test_entropy_rates_in_closed_form():
    """Golden mean: 2/3 bit after any token. RRXOR: two bits in three tokens, reached from above. Mess3: falls ever less."""
    assert golden_mean().conditional_entropies(6) == pytest.approx([2 / 3 * math.log(2)] * 6, abs=1e-14)
    falling = rrxor().conditional_entropies(12)
    assert (np.diff(falling) <= 1e-14).all() and 2 / 3 < falling[-1] / math.log(2) < 0.72
    steps = np.diff(mess3().conditional_entropies(8))
    assert (steps < 0).all() and (np.diff(steps) > 0).all()


def test_rrxor_has_36_beliefs_and_13_next_token_distributions_after_a_token():
    """36 as Shai et al. count them, the one before any token among them; most share their next token's distribution."""
    process = rrxor()
    after = np.concatenate([process.beliefs(process.histories(steps)[0])[:, -1] for steps in range(1, 13)])
    beliefs = np.unique(after.round(9), axis=0)
    assert len(beliefs) + 1 == 36
    assert len(np.unique(process.next_tokens(beliefs).round(9), axis=0)) == 13


def test_samples_have_the_frequencies_of_the_histories():
    """Four standard errors of 20 000 words."""
    process = mess3()
    drawn = process.sample(runs=20_000, steps=3, generator=torch.Generator().manual_seed(0)).numpy()
    _, p = process.histories(3)
    seen = np.bincount(drawn @ [9, 3, 1], minlength=27) / len(drawn)
    assert (np.abs(seen - p) < 4 * np.sqrt(p * (1 - p) / len(drawn))).all()


def test_an_impossible_token_has_no_belief():
    beliefs = golden_mean().beliefs(np.array([[1, 0, 0, 1]]))
    assert np.isfinite(beliefs[0, :2]).all() and np.isnan(beliefs[0, 2:]).all()


def test_bayes_rule_as_a_map_follows_the_beliefs():
    process = mess3()
    words, _ = process.histories(4)
    dynamics = process.bayes_rule()
    check_dynamics(dynamics, process.beliefs(words)[:8, 0], drive=torch.ones(1).double())
    path = rollout(dynamics, np.full((len(words), 3), 1 / 3), drives=words[:, :, None].astype(float))
    np.testing.assert_allclose(path.states[:, 1:], process.beliefs(words), atol=1e-14)


def test_the_information_dimension_is_entropy_over_contraction():
    """Jurgens and Crutchfield, Chaos 31, 083114 (2021), where images do not overlap; one decade of scales sees the swing of a
    self-similar cloud about it, 0.04 when other decades were tried."""
    process = mess3()
    drives = process.sample(runs=24, steps=200, generator=torch.Generator().manual_seed(0))[:, :, None].double()
    spectrum = lyapunov_spectrum(process.bayes_rule(), np.full((24, 3), 1 / 3), steps=200, directions=1, drives=drives)
    expected = -process.conditional_entropies(8)[-1] / spectrum.exponents.mean()
    words, p = process.histories(8)
    cloud = Trajectory(process.beliefs(words)[:, -1:])
    measured = box_dimensions(cloud, scales=np.geomspace(0.03, 0.3, 8), weights=p, grids=4, orders=(1.0,))
    assert expected == pytest.approx(0.522, abs=0.05)  # four standard errors of 24 runs
    assert measured.dimensions[0] == pytest.approx(expected, abs=0.06)
