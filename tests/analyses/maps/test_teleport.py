import dataclasses
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from analyses.maps.teleport import teleport
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.trajectory import Trajectory

SITES, DIM = 6, 3


def stack(factors, shift=0.0, name="stack"):
    """Layer l multiplies by its factor and adds a shift."""
    return Dynamics(lambda x, layer: factors[layer] * x + shift, dim=DIM, clock="layer", driven=True, name=name)


def recorded(maps, seed=0):
    starts = np.random.default_rng(seed).standard_normal((len(maps), 1, DIM))
    states = []
    for now, one in zip(torch.as_tensor(starts), maps, strict=True):
        run = [now]
        for layer in range(SITES - 1):
            run.append(one(run[-1], layer))
        states.append(torch.cat(run).numpy())
    return Trajectory(np.array(states), "layer")


def contracted(factor, texts=4, **options):
    maps = [stack([factor] * (SITES - 1), shift=0.1)] * texts
    return teleport(maps, recorded(maps), **options)


def forgetful(texts=2):
    """From layer 1 on every state goes to one point."""
    maps = [stack([0.5, 0.0, 0.5, 0.5, 0.5], shift=0.1)] * texts
    return teleport(maps, recorded(maps), layers=[1])


def specimens():
    twins = [contracted(factor) for factor in (0.9, 1.0, 1.1)]
    return [contracted(0.5, twins=twins), forgetful()]


def test_a_stack_of_equal_factors_gives_their_powers_with_no_interval_to_speak_of():
    found = contracted(0.5)
    assert found.layers.tolist() == [0, 1, 2, 3, 4] and found.displaced == 24
    for row, layer in enumerate(found.layers):
        assert np.isnan(found.ratios[row, :layer]).all()
        expected = 0.5 ** np.arange(SITES - layer)
        for ratios in (found.ratios, found.low, found.high):
            assert ratios[row, layer:] == pytest.approx(expected, rel=1e-9)
    assert found.contracting.all() and found.checks[0].passed
    assert not contracted(1.5).contracting.any()


def test_in_units_of_the_norm_a_stack_that_only_scales_changes_nothing():
    maps = [stack([0.5, 3.0, 1.0, 2.0, 0.1])] * 3
    found = teleport(maps, recorded(maps))
    assert found.relative_ratios[np.isfinite(found.relative_ratios)] == pytest.approx(1.0, abs=1e-9)


def test_the_interval_covers_the_mean_over_texts():
    # factors drawn for each text: the mean log ratio over one step is normal, and 95 % intervals of 12 texts cover about 91 %
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        maps = [stack([factor] * (SITES - 1)) for factor in np.exp(0.3 * rng.standard_normal(12))]
        found = teleport(maps, recorded(maps), layers=[4], grid=2)
        covered += bool(found.low[0, -1] <= 1.0 <= found.high[0, -1])
    assert covered >= 46  # of 60 at 0.91, below 46 with probability 2e-4


def test_contraction_beats_twins_that_have_none_and_is_silent_without_them():
    rng = np.random.default_rng(0)
    twins = [contracted(float(factor)) for factor in np.exp(0.05 * rng.standard_normal(19))]
    found = contracted(0.5, twins=twins)
    assert all(null.beaten and null.unit == "network" for null in found.nulls) and len(found.nulls) == 5
    again = contracted(1.0, twins=twins)
    assert not any(null.beaten for null in again.nulls)
    assert "nothing says that training did it" in contracted(0.5).summary()


def test_the_grid_lies_in_the_plane_that_the_states_use():
    # states move in the first two coordinates only; the third is expanded a hundredfold, which no displacement sees
    def step(x, layer):
        return x * torch.tensor([0.5, 0.5, 100.0], dtype=x.dtype)

    one = Dynamics(step, dim=DIM, clock="layer", driven=True)
    states = (
        np.random.default_rng(0).standard_normal((4, 1, DIM)) * [1, 1, 0] * (0.5 ** np.arange(SITES))[None, :, None]
    )
    found = teleport([one] * 4, Trajectory(states, "layer"), layers=[0])
    assert found.ratios[0] == pytest.approx(0.5 ** np.arange(SITES), rel=1e-6)


def test_a_map_that_does_not_replay_its_path_fails_its_check_and_a_vanished_displacement_is_zero():
    maps = [stack([0.5] * 5)] * 2
    path = recorded(maps)
    other = dataclasses.replace(path, states=path.states + np.arange(SITES)[None, :, None])
    assert not teleport(maps, other).checks[0].passed
    gone = forgetful()
    assert gone.ratios[0, 2] == 0.0 and np.isnan(gone.low[0, 2])


def test_a_budget_that_ends_it_early_leaves_the_texts_that_were_done():
    maps = [stack([factor] * (SITES - 1), shift=0.1) for factor in (0.5, 0.5, 2.0, 2.0)]
    cut = teleport(maps, recorded(maps), watch=lambda texts, total: islice(texts, 2))
    assert cut.outcome is Outcome.OUT_OF_TIME and cut.texts == 2
    assert cut.ratios[0] == pytest.approx(0.5 ** np.arange(SITES), rel=1e-9)
    none = teleport(maps, recorded(maps), watch=lambda texts, total: iter(()), twins=[contracted(0.5)])
    assert none.texts == 0 and np.isnan(none.ratios).all() and none.nulls == ()
    assert contracted(0.5).outcome is Outcome.CONVERGED


def test_refusals():
    maps = [stack([0.5] * 5)] * 2
    path = recorded(maps)
    refused = partial(pytest.raises, InputError)
    with refused(match="one map a run over depth, none padded; 1 maps, 2 runs of 6 sites"):
        teleport(maps[:1], path)
    with refused(match="clock 'time' came"):
        teleport(maps, Trajectory(path.states))
    with refused(
        match="takes maps of 3 units driven by the layer's number.*'free' has 3 units, clock 'time' and no drive"
    ):
        teleport([Dynamics(lambda x, _: x, dim=3, name="free")] * 2, path)
    with refused(match="layers lie in 0 to 4, with grid=5"):
        teleport(maps, path, layers=[5])
    with refused(match="the texts are in one state at layer 0"):
        teleport(maps, Trajectory(np.ones((2, SITES, DIM)), "layer"))
    with refused(match=r"a twin was displaced at other layers than \[1\]"):
        teleport(maps, path, layers=[1], twins=[contracted(0.5, texts=2)])
