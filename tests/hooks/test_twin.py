import numpy as np
import pytest
import torch
from torch import nn

from case_studies._small_gpt import untrained
from hooks.errors import InputError
from hooks.twin import random_twin, scrambled_twin


def weights(module):
    return torch.cat([weight.flatten() for weight in module.state_dict().values()])


def test_a_torch_module_is_drawn_again_from_its_seed_and_left_as_it_came():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.GRU(5, 4), nn.LayerNorm(4)).double()
    before, state = weights(model).clone(), torch.get_rng_state()
    one, again, other = (random_twin(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(weights(model), before) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(one), weights(again)) and not torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), before) and weights(one).dtype == torch.float64
    assert not one.training and not any(weight.requires_grad for weight in one.parameters())


def test_the_weights_of_a_twin_have_the_spread_of_their_library():
    # torch draws a linear layer uniformly in +- 1 / sqrt(inputs): variance 1 / (3 inputs); 10^4 entries, four standard errors
    trained = nn.Linear(100, 100)
    with torch.no_grad():
        trained.weight.fill_(7.0)
    twin = random_twin(trained, seed=0)
    assert float(twin.weight.var()) == pytest.approx(1 / 300, rel=4 * np.sqrt(0.8 / 1e4))


def test_a_model_of_transformers_is_built_again_from_its_configuration():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
                        attn_implementation="eager")  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval()
    twin = random_twin(model, seed=3)
    assert type(twin) is type(model) and twin.config is not model.config
    assert twin.config._attn_implementation == "eager" and next(twin.parameters()).dtype == torch.float64
    assert {name: weight.shape for name, weight in twin.state_dict().items()} == {
        name: weight.shape for name, weight in model.state_dict().items()
    }
    assert not torch.equal(weights(twin), weights(model))
    assert torch.equal(twin.lm_head.weight, twin.transformer.wte.weight)  # tied, as in the model


def test_a_weight_that_nobody_draws_again_is_refused():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(2))

    with pytest.raises(InputError, match=r"'1' holds weights and has no reset_parameters"):
        random_twin(nn.Sequential(nn.Linear(2, 2), Bare()), seed=0)


def test_a_scrambled_twin_has_the_blocks_entries_in_other_places_and_all_else_as_it_was():
    model = untrained(2, layers=2, units=8, context=8)
    before = weights(model).clone()
    one, again, other = (scrambled_twin(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(weights(model), before)
    assert torch.equal(weights(one), weights(again)) and not torch.equal(weights(one), weights(other))
    for (name, weight), (_, drawn) in zip(model.named_parameters(), one.named_parameters(), strict=True):
        assert torch.equal(weight.flatten().sort()[0], drawn.flatten().sort()[0])
        assert torch.equal(weight, drawn) == (".h." not in name or bool((weight == weight.flatten()[0]).all()))


def test_what_is_no_stack_of_blocks_is_not_scrambled():
    with pytest.raises(InputError, match=r"Linear has no nn.ModuleList"):
        scrambled_twin(nn.Linear(2, 2).eval(), seed=0)
