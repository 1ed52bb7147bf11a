"""Exponents of diagonal recurrences in closed form, against QR on a Mamba layer's own drives."""

import math

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.state_exponents import state_exponents
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import recurrent_states, state_space_layer


def specimens():
    found = state_exponents(np.array([[[-1.0, -2.0], [-3.0, -4.0]]] * 2))
    return [found, state_exponents(np.array([[-np.inf, 0.0]]))]


def mamba(seed, layers=1):
    """Four channels of four states, whose steps are spread by hand so that the sixteen rates can be told apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MambaForCausalLM(
            MambaConfig(vocab_size=50, hidden_size=2, num_hidden_layers=layers, state_size=4, use_cache=False)
        ).eval()
        for block in model.backbone.layers:
            with torch.no_grad():
                block.mixer.dt_proj.bias.copy_(torch.tensor([0.02, 0.05, 0.13, 0.45]).expm1().log())
    return model


def test_exponents_of_a_mamba_layer_are_the_mean_step_times_its_decays_and_qr_agrees():
    model = mamba(0)
    tokens = torch.randint(50, (1, 1400), generator=torch.Generator().manual_seed(0))
    layer, states = state_space_layer(model), recurrent_states(model, tokens)
    drives = states.drives[0]
    spectrum = lyapunov_spectrum(layer.dynamics(), np.zeros((1, 16)), steps=400, burn_in=1000, drives=drives)
    found = state_exponents(layer.log_decays(torch.from_numpy(drives.copy())), burn_in=1000, measured=spectrum)
    # by the module's own weights: softplus of its step projection, times -exp(A_log)
    mixer, u = model.backbone.layers[0].mixer, torch.from_numpy(drives[1000:].copy()).float()
    with torch.no_grad():
        step = torch.nn.functional.softplus(mixer.dt_proj(mixer.x_proj(u)[:, :1]))
        expected = (step.mean(dim=0)[:, None] * -mixer.A_log.exp()).flatten().numpy()
    assert found.exponents == pytest.approx(np.sort(expected)[::-1], abs=1e-6)
    assert found.smallest_gap > 9e-3  # e^-9 of the frame's turn is left after the burn-in, over 400 tokens: 3e-7
    assert [check.passed for check in found.checks] == [True, True] and found.checks[0].tolerance == 1e-6
    assert found.exponents.max() < 0 and "by construction" in found.summary() and "no finding" in found.summary()


def test_two_states_under_the_same_tokens_close_up_at_the_slowest_rate():
    model = mamba(1)
    tokens = torch.randint(50, (1, 400), generator=torch.Generator().manual_seed(1))
    layer, drives = state_space_layer(model), recurrent_states(model, tokens).drives[0]
    found = state_exponents(layer.log_decays(torch.from_numpy(drives.copy())), burn_in=200)
    run = rollout(layer.dynamics(), np.stack([np.zeros(16), np.ones(16)]), drives=drives)
    gap = np.log(np.linalg.norm(run.states[1] - run.states[0], axis=1))
    assert (gap[400] - gap[200]) / 200 == pytest.approx(
        found.exponents[0], abs=1e-3
    )  # others decay by e^-4 in 200 tokens


def test_standard_errors_are_those_of_independent_tokens():
    """Means of n independent normals err by sigma / sqrt(n); the estimate of it from 32 blocks or more by 13 %."""
    rng = np.random.default_rng(0)
    found = state_exponents(-1 + 0.1 * rng.standard_normal((4, 1024, 50)))
    assert found.standard_errors.mean() == pytest.approx(0.1 / math.sqrt(4096), rel=0.05)
    assert (np.abs(found.exponents + 1) < 4 * found.standard_errors).all()


def test_order_coordinates_and_lifetimes():
    found = state_exponents([[[-2.0, -0.1, -np.inf]] * 2])
    assert found.coordinates.tolist() == [1, 0, 2] and found.exponents.tolist() == [-0.1, -2.0, -np.inf]
    assert found.lifetimes.tolist() == [10.0, 0.5, 0.0]


def test_a_recurrence_that_forgets_nothing_and_one_that_grows_are_said():
    still = state_exponents(np.zeros((2, 5, 3)))
    assert "0 of 3 exponents" in still.summary() and "never forgotten" in still.summary()
    assert np.isinf(still.lifetimes).all()
    assert "1 are positive: differences grow" in state_exponents([[[0.5, -1.0]]]).summary()
    assert np.isnan(state_exponents([[[-1.0]]]).standard_errors[0])


def test_another_spectrum_fails_its_check_and_misuse_is_said():
    layer = state_space_layer(mamba(0))
    drives = torch.randn(60, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spectrum = lyapunov_spectrum(layer.dynamics(), np.zeros((1, 16)), steps=30, drives=drives)
    early = state_exponents(layer.log_decays(drives[:30]), measured=spectrum)
    assert [check.passed for check in early.checks] == [False, True]  # the frame has not turned, the volume is exact
    assert "QR on the same drives differs" in early.summary()
    other = state_exponents(layer.log_decays(drives[30:]), measured=spectrum)
    assert not other.checks[1].passed
    with pytest.raises(InputError, match="1 starts and 16 directions is not of 2 runs of 16"):
        state_exponents(np.zeros((2, 30, 16)), measured=spectrum)
    with pytest.raises(InputError, match="burn_in=5 came"):
        state_exponents(np.zeros((1, 5, 2)), burn_in=5)
    with pytest.raises(InputError, match="1 ln decays are NaN"):
        state_exponents([[[np.nan, 0.0]]])
