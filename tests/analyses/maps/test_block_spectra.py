import math

import numpy as np
import pytest
import torch

from analyses.maps.block_spectra import COUPLING, FALL, RISE, BlockSpectra, block_spectra
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def stack(matrices, readout=None):
    """Linear blocks: block l takes x to matrices[l] x."""
    W = torch.as_tensor(np.array(matrices))
    return Dynamics(
        lambda x, layer: x @ W[layer].mT,
        dim=W.shape[1],
        driven=True,
        clock="layer",
        name="linear stack",
        readout=readout,
    )


def tanh_stack(dim=24, blocks=5, seed=0, gain=0.7):
    W = gain * torch.randn(blocks, dim, dim, generator=torch.Generator().manual_seed(seed)).double() / dim**0.5
    return Dynamics(
        lambda x, layer: x + torch.tanh(x @ W[layer].mT), dim=dim, driven=True, clock="layer", name="tanh stack"
    )


def passed(dynamics, blocks, texts=1, seed=9):
    """One run a text through the stack, and its map."""
    now = torch.randn(texts, dynamics.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    states = [now]
    for block in range(blocks):
        states.append(dynamics(states[-1], block))
    return [dynamics] * texts, Trajectory(torch.stack(states, 1).numpy(), "layer")


def gaussian(dim, blocks=1, scale=0.5, seed=0):
    return np.eye(dim) + scale * np.random.default_rng(seed).standard_normal((blocks, dim, dim)) / dim**0.5


def specimens():
    return [
        block_spectra(*passed(tanh_stack(6, 3), 3, texts=2), coupled=2, draws=3),
        block_spectra(*passed(stack([np.eye(2)]), 1), draws=0),
    ]


def test_a_shear_a_rotation_and_a_symmetric_block_have_their_closed_forms():
    """R = [[0, 2], [0, 0]] is nilpotent, so its departure is all of it; a quarter turn is normal and antisymmetric."""
    shear, turn, diagonal = np.array([[0, 2.0], [0, 0]]), np.array([[0, -1.0], [1, 0]]), np.diag([1.0, 3.0])
    found = block_spectra(*passed(stack(np.eye(2) + np.array([shear, turn, diagonal])), 3), draws=0)
    np.testing.assert_allclose(found.nonnormality, [[1, 0, 0]], atol=1e-7)  # the root of a rounding
    np.testing.assert_allclose(found.symmetric_shares, [[0.5, 0, 1]], atol=1e-14)
    np.testing.assert_allclose(found.update_sizes, [[math.sqrt(2), 1, math.sqrt(5)]], atol=1e-14)
    golden = 1 + math.sqrt(2)  # singular values of [[1, 2], [0, 1]]
    np.testing.assert_allclose(found.singular_values[0], [[golden, 1 / golden], [math.sqrt(2)] * 2, [4, 2]], atol=1e-13)
    np.testing.assert_allclose(found.eigenvalues[0], [[1, 1], [1 + 1j, 1 - 1j], [4, 2]], atol=1e-7)  # a double root
    assert all(check.passed for check in found.checks) and found.statistics[FALL] == pytest.approx(1, abs=1e-7)


def test_a_block_is_coupled_with_itself_and_orthogonal_ones_are_not():
    """R1 = R2 = 2 e1 e1': coupling 1. R3 = e2 e2' between frames (e1): 1 - |0 - 1| / 1 = 0."""
    e1, e2 = np.diag([1.0, 0, 0]), np.diag([0, 1.0, 0])
    found = block_spectra(*passed(stack(np.eye(3) + np.array([2 * e1, 2 * e1, e2])), 3), coupled=1, draws=0)
    np.testing.assert_allclose(found.couplings[0], [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-14)
    assert found.statistics[COUPLING] == pytest.approx(2 / 6)


def test_gaussian_updates_have_the_circular_laws_numbers_and_beat_no_null():
    """Sum |eigenvalue|^2 of a Ginibre matrix is half its size: departure 0.71; symmetric share 1/2; frames independent."""
    found = block_spectra(*passed(stack(gaussian(100, 6)), 6), coupled=4)
    assert found.nonnormality.mean() == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert found.symmetric_shares.mean() == pytest.approx(0.5, abs=0.01)  # each within 1 / (2 dim) of it
    assert abs(found.statistics[COUPLING]) < 0.05
    assert {null.statistic: null.beaten for null in found.nulls} == {FALL: False, RISE: False, COUPLING: False}
    assert "not beaten" in found.summary() and "nothing says that training did it" in found.summary()


def test_a_stack_that_turns_symmetric_with_depth_beats_gaussian_blocks_and_random_twins():
    noise = gaussian(30, 6, seed=3) - np.eye(30)
    mixed = [(1 - k / 5) * R + k / 5 * (R + R.T) / math.sqrt(2) for k, R in enumerate(noise)]
    twins = [block_spectra(*passed(stack(gaussian(30, 6, seed=seed)), 6), draws=0) for seed in range(19)]
    found = block_spectra(*passed(stack(np.eye(30) + np.array(mixed)), 6), twins=twins)
    beaten = {(null.name, null.statistic): null.beaten for null in found.nulls}
    assert len(beaten) == 6 and all(hit for (_, statistic), hit in beaten.items() if statistic in (FALL, RISE))
    assert found.statistics[RISE] > 0.3 and "twins were" not in found.summary()


def test_pushes_and_pulls_alone_give_the_same_leading_values_within_their_bounds():
    maps, trajectory = passed(tanh_stack(), 5, texts=2)
    full, free = (block_spectra(maps, trajectory, kept=kept, coupled=3, draws=0) for kept in (None, 4))
    assert free.singular_values.shape == (2, 5, 4) and all(check.passed for check in free.checks)
    assert (np.abs(free.singular_values - full.singular_values[:, :, :4]) <= free.bounds + 1e-12).all()
    np.testing.assert_allclose(free.couplings, full.couplings, atol=1e-4)  # vectors err by a bound over a gap
    np.testing.assert_allclose(free.eigenvalues[:, :, 0], full.eigenvalues[:, :, 0], atol=1e-10)
    # a trace from 32 directions: standard deviation of the share about sqrt(2 / (32 dim)) = 0.05
    np.testing.assert_allclose(free.symmetric_shares, full.symmetric_shares, atol=0.2)
    assert np.isnan(free.nonnormality).all() and "not shown" in free.summary()


def test_a_map_that_does_not_replay_the_record_fails_its_check():
    maps, trajectory = passed(tanh_stack(6, 3), 3)
    other = block_spectra([tanh_stack(6, 3, seed=1)], trajectory, draws=0)
    assert block_spectra(maps, trajectory, draws=0).checks[0].passed and not other.checks[0].passed


def test_blocks_that_do_nothing_one_unit_and_refusals():
    still = block_spectra(*passed(stack([np.eye(2)] * 3), 3), draws=2)
    assert (still.nonnormality == 0).all() and (still.couplings == 0).all() and (still.singular_values == 1).all()
    single = block_spectra(*passed(stack([[[2.0]], [[3.0]]]), 2), draws=0)
    assert single.singular_values.tolist() == [[[2.0], [3.0]]] and single.symmetric_shares.tolist() == [[1.0, 1.0]]
    maps, trajectory = passed(tanh_stack(6, 3), 3)
    with pytest.raises(InputError, match="takes one map a run over depth, none padded; 2 maps, 1 runs"):
        block_spectra(maps * 2, trajectory)
    with pytest.raises(InputError, match="has 6 units, clock 'time' and a drive"):
        block_spectra([Dynamics(lambda x, u: x, dim=6, driven=True)], trajectory)
    with pytest.raises(InputError, match="need 1 to 6 directions"):
        block_spectra(maps, trajectory, kept=7)


def test_results_survive_writing():
    for result in specimens():
        again = BlockSpectra.from_dict(result.to_dict())
        assert np.array_equal(again.couplings, result.couplings) and again.summary() == result.summary()
        assert result.plot().get_xlabel() == "block"
