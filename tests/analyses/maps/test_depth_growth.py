import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.maps._blocks import gaussian_blocks
from analyses.maps.depth_growth import RANK, RATE, SAID, DepthGrowth, depth_growth
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from tests.analyses.maps.test_block_spectra import gaussian, passed, stack, tanh_stack


def scores(width, outputs=7, seed=2):
    W = torch.randn(outputs, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda x: x @ W.mT


def specimens():
    return [
        depth_growth(*passed(replace(tanh_stack(6, 3), readout=scores(6)), 3, texts=2), draws=3),
        depth_growth(*passed(stack([np.zeros((2, 2))]), 1), draws=0),
    ]


def test_diagonal_blocks_grow_at_the_mean_of_their_logarithms():
    blocks = [np.diag([2.0, 0.5, 1.0]), np.diag([8.0, 0.5, 1.0])]
    found = depth_growth(*passed(stack(blocks, readout=lambda x: x[:, :2] * 3), 2), draws=0)
    np.testing.assert_allclose(
        found.rates[0, 1:], [[math.log(2), 0, -math.log(2)], [math.log(4), 0, -math.log(2)]], atol=1e-14
    )
    # the readout triples two coordinates: after the last block 24 and 1.5, after both 48 and 0.75
    np.testing.assert_allclose(np.exp(found.output_log_values[0]), [[3, 3], [24, 1.5], [48, 0.75]], rtol=1e-13)
    np.testing.assert_allclose(found.output_rates[0, 2], np.log([16, 0.25]) / 2, atol=1e-13)
    squares = np.array([16.0, 0.25, 1]) ** 2
    np.testing.assert_allclose(found.effective_ranks[0, 2], squares.sum() ** 2 / (squares**2).sum() / 3, rtol=1e-13)
    assert found.effective_ranks[0, 0] == pytest.approx(1) and all(check.passed for check in found.checks)


def test_an_isometry_keeps_its_rank_and_a_projection_funnels_into_one_direction():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    project = np.outer([1, 0, 0, 0, 0.0], [1, 0, 0, 0, 0.0])
    found = depth_growth(*passed(stack([turn, turn, project]), 3), draws=0)
    np.testing.assert_allclose(found.effective_ranks[0], [1, 1, 1, 0.2], atol=1e-14)
    np.testing.assert_allclose(found.log_singular_values[0, 2], 0, atol=1e-14)
    assert np.isneginf(found.log_singular_values[0, 3, 1:]).all()


def test_products_neither_overflow_nor_lose_their_smallest_value():
    """Thirty blocks e^30 apart: the ends of the product are e^900 and e^-900, beyond any float64 matrix."""
    rest = Trajectory(np.zeros((1, 31, 2)), "layer")  # of linear blocks, whose slopes are the same everywhere
    found = depth_growth([stack([np.diag([math.exp(30), math.exp(-30)])] * 30)], rest, draws=0)
    np.testing.assert_allclose(found.rates[0, -1], [30, -30], atol=1e-12)
    assert found.effective_ranks[0, -1] == pytest.approx(0.5)


def test_gaussian_blocks_grow_as_their_size_says():
    """E |P|_F^2 / dim = prod (1 + size^2 / dim): 0.5^2 a block here, with a relative spread of some 1 / dim."""
    slopes = gaussian_blocks(np.full(8, 0.5 * 100**0.5), 100, torch.Generator().manual_seed(0))
    found = depth_growth(*passed(stack(slopes), 8), draws=0)
    total = np.exp(2 * found.log_singular_values[0]).mean(axis=1)
    np.testing.assert_allclose(total, 1.25 ** np.arange(9), rtol=0.15)
    wide = gaussian_blocks(np.full(1, 0.5 * 1000**0.5), 1000, torch.Generator().manual_seed(0))
    assert wide.shape == (1, 256, 256) and ((wide - np.eye(256)) ** 2).sum() == pytest.approx(0.25 * 256, rel=0.05)


def test_gaussian_blocks_do_not_beat_their_own_null_and_a_funnel_does():
    own = [depth_growth(*passed(stack(gaussian(12, 5, seed=seed)), 5)).nulls for seed in range(20)]
    for number, statistic in enumerate((RATE, RANK)):
        assert own[0][number].statistic == statistic
        assert sum(nulls[number].beaten for nulls in own) <= 4  # of 20 at 5 %: exceeded once in 400
    funnel = np.eye(40) - 0.5 * np.diag(np.arange(40) > 3)  # as large an update, but always the same directions shrink
    twins = [depth_growth(*passed(stack(gaussian(40, 5, seed=seed)), 5), draws=0) for seed in range(19)]
    found = depth_growth(*passed(stack([funnel] * 5), 5), twins=twins)
    assert found.statistics[RATE] == pytest.approx(0, abs=1e-12)
    assert {(null.name, null.statistic) for null in found.nulls if null.beaten} >= {
        ("Gaussian blocks", RANK), ("random-weight twins", RANK),
    }  # fmt: skip
    assert "effective rank" in found.summary() and "no twins" not in found.summary()


def test_output_divergence_is_the_root_of_twice_the_kullback_leibler_divergence():
    """A small deviation's growth through two blocks and softmax, against KL itself: they differ by its third order."""
    dynamics = replace(tanh_stack(6, 2), readout=scores(6))
    maps, trajectory = passed(dynamics, 2)
    found = depth_growth(maps, trajectory, outputs="distribution", draws=0)
    start = torch.as_tensor(trajectory.states[:, 0].copy())

    def said(states):
        return dynamics.readout(dynamics(dynamics(states, 0), 1)).log_softmax(1)

    directions = 1e-4 * torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4)).double())[0]
    here, there = said(start), said(start + directions)
    squared = 2 * (here.exp() * (here - there)).sum(1) / 1e-8
    # the sum over an orthonormal basis is the sum of squared singular values
    assert squared.sum() == pytest.approx(np.exp(2 * found.output_log_values[0, -1]).sum(), rel=1e-3)


def test_pushes_and_pulls_alone_agree_with_formed_products():
    maps, trajectory = passed(replace(tanh_stack(40, 4), readout=scores(40, 50)), 4, texts=2)
    full = depth_growth(maps, trajectory, depths=(2,), draws=0)
    free = depth_growth(maps, trajectory, depths=(2,), kept=5, draws=0)
    assert free.depths.tolist() == [0, 2, 4] and all(check.passed for check in free.checks)
    np.testing.assert_allclose(free.log_singular_values, full.log_singular_values[:, :, :5], atol=1e-4)  # by its bound
    np.testing.assert_allclose(free.output_log_values, full.output_log_values[:, :, :5], atol=1e-4)
    # the rest from 32 directions: its sums err by a few per cent
    np.testing.assert_allclose(free.effective_ranks, full.effective_ranks, rtol=0.15)
    assert free.output_bounds.max() < 1e-4 and free.statistics[SAID] == pytest.approx(full.statistics[SAID], abs=1e-4)


def test_a_wide_stack_is_never_formed_and_has_no_output_null():
    wide = Dynamics(lambda x, layer: x * 1.5, dim=600, driven=True, clock="layer", readout=lambda x: 2 * x[:, :3])
    found = depth_growth(*passed(wide, 2), depths=(1,), draws=2)
    np.testing.assert_allclose(found.rates[0, 1:], math.log(1.5), atol=1e-9)
    np.testing.assert_allclose(
        np.exp(found.output_log_values[0]), 2 * 1.5 ** np.arange(3.0)[:, None] * np.ones(3), rtol=1e-9
    )
    assert found.effective_ranks[0, 2] == pytest.approx(1, rel=0.2)  # the rest by random directions
    assert {null.statistic for null in found.nulls} == {RATE, RANK}


def test_one_unit_and_refusals():
    single = depth_growth(*passed(stack([[[2.0]], [[3.0]]]), 2), draws=0)
    np.testing.assert_allclose(single.rates[0, 1:, 0], [math.log(2), math.log(6) / 2], atol=1e-15)
    maps, trajectory = passed(tanh_stack(6, 3), 3)
    with pytest.raises(InputError, match="need 1 to 6 directions, 0 to 3 blocks"):
        depth_growth(maps, trajectory, depths=(4,))
    with pytest.raises(InputError, match="has no readout, so there are no distributions"):
        depth_growth(maps, trajectory, outputs="distribution")
    with pytest.raises(InputError, match="depth_growth takes one map a run over depth"):
        depth_growth(maps, replace(trajectory, clock="time"))


def test_results_survive_writing():
    for result in specimens():
        again = DepthGrowth.from_dict(result.to_dict())
        assert (
            np.array_equal(again.log_singular_values, result.log_singular_values)
            and again.summary() == result.summary()
        )
        assert result.plot().get_xlabel() == "blocks"
