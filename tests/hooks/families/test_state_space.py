"""Recurrent states of Mamba layers against the model's own cache and output."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from hooks.contract import check_dynamics, check_replay
from hooks.errors import CaptureError, InputError
from hooks.families import recurrent_states, state_space_layer
from hooks.families.state_space import mixer_of, write_and_read

TOKENS = torch.randint(50, (3, 21), generator=torch.Generator().manual_seed(1))


def mamba(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=3, state_size=8, **settings)
        return MambaForCausalLM(config).eval()


def mamba2(**settings):
    """Two groups of B and C, four heads each, three times as many tokens as a chunk."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Mamba2Config(
            vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=8, head_dim=8, num_heads=8, n_groups=2, chunk_size=8,
            **settings,
        )  # fmt: skip
        return Mamba2ForCausalLM(config).eval()


@pytest.mark.parametrize("make", [mamba, mamba2, lambda: mamba(use_bias=True, use_conv_bias=False)])
def test_the_last_state_is_the_one_in_the_models_cache(make):
    model = make()
    cache = model(TOKENS, use_cache=True).cache
    for layer in range(2):
        found = recurrent_states(model, TOKENS, layer)
        own = cache.get_recurrent_state(layer).flatten(1).detach().numpy()
        assert found.states.shape == (3, 22, own.shape[1])
        assert np.abs(found.states[:, -1] - own).max() < 1e-5 * np.abs(own).max()  # float32 over 21 tokens


@pytest.mark.parametrize("make", [mamba, mamba2])
def test_states_and_what_they_are_read_by_give_back_the_mixers_output(make):
    model = make()
    for layer in range(2):
        mixer = mixer_of(model, layer)
        seen = []
        handle = mixer.module.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append((args[0], output))
        )
        states = recurrent_states(model, TOKENS, layer)
        handle.remove()
        (stream, output), = seen  # fmt: skip
        entering, rest = mixer.project(stream.detach().double())
        form = mixer.layer.form(torch.from_numpy(states.drives.copy()))
        said = mixer.finish(form.read(mixer.layer.unflat(torch.from_numpy(states.states[:, 1:].copy()))), rest)
        assert (
            mixer.features(mixer.convolved(entering), rest).numpy() - states.drives
        ).max() < 1e-6  # float32 projection
        assert (said - output).abs().max() < 1e-5 * max(1.0, float(output.abs().max()))


@pytest.mark.parametrize("make", [mamba, mamba2])
def test_the_map_of_a_layer_replays_its_states_with_a_diagonal_slope(make):
    model = make()
    layer, found = state_space_layer(model, 1), recurrent_states(model, TOKENS, 1)
    dynamics = layer.dynamics()
    assert dynamics.clock == "token" and dynamics.dim == found.states.shape[2]
    check_replay(dynamics, found, tolerance=1e-12)
    check_dynamics(dynamics, found.states[:, 9], drive=found.drives[:, 9])
    assert (layer.log_decays(torch.from_numpy(found.drives.copy())) < 0).all()  # Delta > 0 and A < 0
    assert not found.states[:, 0].any() and found.labels["token"][:, 1:].tolist() == TOKENS.tolist()
    assert (found.labels["token"][:, 0] == -1).all() and found.labels["text"].tolist() == [0, 1, 2]


def test_what_a_mixer_writes_and_reads_by_are_the_rows_of_its_projection():
    model = mamba()
    S_B, S_C = write_and_read(model, 1)
    found, mixer = recurrent_states(model, TOKENS, 1), model.backbone.layers[1].mixer
    u = torch.from_numpy(found.drives.copy())
    B, C = mixer.x_proj(u.float())[..., -16:].split(8, dim=-1)
    assert (u @ S_B.mT - B).abs().max() < 1e-6 and (u @ S_C.mT - C).abs().max() < 1e-6  # float32
    with pytest.raises(InputError, match=r"'backbone\.layers\.0\.mixer' is a Mamba-2 mixer"):
        write_and_read(mamba2())


def test_the_model_is_as_it_was():
    model = mamba()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    recurrent_states(model, TOKENS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert model.backbone.layers[0].mixer.A_log.dtype == torch.float32


def test_a_model_in_half_precision_and_one_text_without_a_runs_axis():
    model = mamba().to(torch.bfloat16)
    found = recurrent_states(model, TOKENS[0], 2)
    assert found.states.shape == (1, 22, 512)


def test_a_mixer_that_does_more_is_refused_and_no_hook_is_left():
    model = mamba(hidden_act="gelu")
    with pytest.raises(
        CaptureError, match=r"'backbone.layers.0.mixer' says an output that differs .* MambaMixer does more"
    ):
        recurrent_states(model, TOKENS)
    assert not any(module._forward_hooks for module in model.modules())
    twice = mamba()
    twice.backbone.layers[1] = twice.backbone.layers[0]
    with pytest.raises(CaptureError, match=r"once, but .* 2"):
        recurrent_states(twice, TOKENS)


def test_refusals():
    with pytest.raises(InputError, match="Linear has 0 Mamba or Mamba-2 mixers"):
        state_space_layer(nn.Linear(2, 2))
    with pytest.raises(InputError, match="has 3 Mamba or Mamba-2 mixers, so there is no mixer 3"):
        recurrent_states(mamba(), TOKENS, 3)
    with pytest.raises(InputError, match="whole numbers"):
        recurrent_states(mamba(), TOKENS.double())
    with pytest.raises(InputError, match="training mode"):
        recurrent_states(mamba().train(), TOKENS)
