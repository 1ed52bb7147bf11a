"""A whole Mamba model as one map: its logits are the model's, its slope is block triangular, its loop closes."""

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.errors import CaptureError, InputError
from hooks.families import (
    closed_loop,
    embeddings,
    recurrent_coordinates,
    recurrent_states,
    state_space_layer,
    state_space_model,
)
from hooks.tangent import jacobian
from tests.hooks.families.test_state_space import TOKENS, mamba, mamba2


@pytest.mark.parametrize("make", [mamba, mamba2])
def test_logits_and_states_along_a_text_are_the_models_own(make):
    model = make()
    dynamics = state_space_model(model)
    run = rollout(dynamics, torch.zeros(3, dynamics.dim), drives=embeddings(model, TOKENS))
    logits = torch.from_numpy(run.states[:, 1:, -32:].copy()) @ model.get_output_embeddings().weight.double().mT
    assert (logits - model(TOKENS).logits).abs().max() < 1e-5 * logits.abs().max()  # float32 through the layers
    for layer, place in enumerate(recurrent_coordinates(model)[:2]):
        own = recurrent_states(model, TOKENS, layer).states
        assert np.abs(run.states[:, :, place] - own).max() < 1e-5 * np.abs(own).max()


def test_it_is_a_map_open_and_closed():
    model = mamba2()
    dynamics = state_space_model(model)
    drives = embeddings(model, TOKENS)
    states = rollout(dynamics, torch.zeros(3, dynamics.dim), drives=drives).states[:, -1]
    check_dynamics(dynamics, states, drive=drives[:, 0])
    closed = closed_loop(dynamics)
    check_dynamics(closed, states)
    assert set(dynamics.layers) == set(range(5)) and closed.layers == ()  # the first layer hears the last


def test_the_slope_is_block_triangular_in_the_layers_with_the_decays_on_the_diagonal():
    model = mamba2()
    dynamics = state_space_model(model)
    drives = embeddings(model, TOKENS[:1])
    run = rollout(dynamics, torch.zeros(1, dynamics.dim), drives=drives)
    slope = jacobian(dynamics, torch.from_numpy(run.states[:, 7].copy()), drives[:, 7])[0]
    layers = torch.tensor(dynamics.layers)
    assert not slope[layers[:, None] < layers[None, :]].any()
    for layer, place in enumerate(recurrent_coordinates(model)):
        own = torch.from_numpy(recurrent_states(model, TOKENS[:1], layer).drives.copy())[:, 7]
        decays = state_space_layer(model, layer).log_decays(own)[0].exp()
        block = slope[place, place]
        assert (block.diagonal() - decays).abs().max() < 1e-6  # features recorded in float32
        assert (block - torch.diag(block.diagonal())).abs().max() == 0


def test_a_closed_loop_hears_itself():
    """Cold, the readout is the embedding of the likeliest token: the loop is greedy decoding."""
    model = mamba()
    dynamics = state_space_model(model, temperature=1e-9)
    prompt = TOKENS[:1, :5]
    start = rollout(dynamics, torch.zeros(1, dynamics.dim), drives=embeddings(model, prompt)).states[:, -1]
    run = rollout(closed_loop(dynamics), start, steps=6)
    said = (torch.from_numpy(run.states[0, :, -32:].copy()) @ model.lm_head.weight.double().mT).argmax(dim=1)
    greedy = model.generate(prompt, max_new_tokens=7, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 5:]
    assert said.tolist() == greedy.tolist()


def test_under_given_tokens_the_leading_exponent_is_that_of_the_slowest_state():
    model = mamba2()
    dynamics = state_space_model(model)
    tokens = torch.randint(50, (1, 200), generator=torch.Generator().manual_seed(3))
    found = lyapunov_spectrum(
        dynamics,
        torch.zeros(1, dynamics.dim),
        steps=100,
        burn_in=100,
        drives=embeddings(model, tokens)[0],
        directions=1,
    )
    slowest = max(
        state_space_layer(model, layer)
        .log_decays(torch.from_numpy(recurrent_states(model, tokens, layer).drives.copy()))[0, 100:]
        .mean(dim=0)
        .max()
        .item()
        for layer in range(2)
    )
    assert found.exponents[0, 0] == pytest.approx(slowest, abs=5e-3) and slowest < 0


def test_models_of_other_parts_are_refused():
    class Other(nn.Module):
        pass

    with pytest.raises(InputError, match="eval mode and a positive temperature"):
        state_space_model(mamba(), temperature=0.0)
    with pytest.raises(InputError, match="0 norms called norm_f"):
        state_space_model(Other().eval())
    scaled = mamba()
    scaled.backbone.layers[1].norm.forward = lambda x: 2 * x
    with pytest.raises(CaptureError, match="says logits that differ"):
        state_space_model(scaled)
