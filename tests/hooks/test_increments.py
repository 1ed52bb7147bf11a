import copy

import numpy as np
import pytest
import torch

from hooks.errors import InputError
from hooks.increments import increments
from hooks.stack import record_stream, stack_of
from tests.hooks.test_stack import Doubling, bridged
from tests.tiny import BLOCKS, WIDTH, tiny, tokens

TEXTS = tokens(3, 6)
HEADS = (*(f"head {head}" for head in range(4)), "attention bias")
NAMES = {
    "gpt2": (*HEADS, "MLP"),
    "llama": (*HEADS, "MLP"),
    "neox": (*HEADS, "MLP"),
    "mamba": ("mixer",),
    "mamba2": ("mixer",),
}


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_to_the_step_of_the_stream(name):
    stack = stack_of(tiny(name))
    split = increments(stack, TEXTS)
    stream = record_stream(stack, TEXTS)
    assert split.names == NAMES[name] and split.parts.shape == (18, BLOCKS, len(split.names), WIDTH)
    np.testing.assert_allclose(split.total, np.diff(stream.states, axis=1), atol=1e-6)
    # float32 numbers near 1
    assert split.gap < 1e-5 and np.abs(split.parts.sum(2) - split.total).max() == split.gap
    np.testing.assert_allclose(split.shares().sum(2), 1, atol=1e-5)
    assert (split.text == stream.labels["text"]).all() and (split.position == stream.labels["position"]).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_a_head_is_what_goes_missing_when_its_rows_are_zero(name):
    model = tiny(name)
    whole = increments(model, TEXTS)
    layers = {"gpt2": "transformer.h", "llama": "model.layers", "neox": "gpt_neox.layers"}[name]
    join = {"gpt2": "attn.c_proj", "llama": "self_attn.o_proj", "neox": "attention.dense"}[name]
    without = copy.deepcopy(model)
    weight = without.get_submodule(f"{layers}.0.{join}").weight.data
    (weight if name == "gpt2" else weight.T)[2 * 8 : 3 * 8] = 0  # head 2 of 4, 8 units each
    # of block 0 alone: later blocks see another stream; its MLP too, except where it reads beside the attention
    lost = record_stream(stack_of(model), TEXTS).states[:, 1] - record_stream(stack_of(without), TEXTS).states[:, 1]
    changed = increments(without, TEXTS)
    mlp = whole.parts[:, 0, 5] - changed.parts[:, 0, 5]
    np.testing.assert_allclose(whole.parts[:, 0, 2] + mlp, lost, atol=1e-6)
    assert np.abs(whole.parts[:, 0, 2]).max() > 1e-3 and (changed.parts[:, 0, 2] == 0).all()


def test_attention_may_stay_whole_and_a_bridge_is_split_alike():
    model = tiny("gpt2")
    split, whole = increments(model, TEXTS, positions=-1), increments(model, TEXTS, positions=-1, heads=False)
    assert whole.names == ("attention", "MLP") and whole.total.shape == (3, BLOCKS, WIDTH)
    np.testing.assert_allclose(split.parts[:, :, :5].sum(2), whole.parts[:, :, 0], atol=1e-6)
    there = increments(bridged(model), TEXTS, positions=-1)
    assert there.names == split.names
    np.testing.assert_allclose(there.parts, split.parts, atol=1e-6)


def test_what_is_no_sum_of_parts_is_refused():
    with pytest.raises(InputError, match=r"do not add up to its step: off by .* normalises or scales after it adds"):
        increments(tiny("bert"), TEXTS)
    with pytest.raises(InputError, match="nothing names the parts inside the blocks of Doubling"):
        increments(stack_of(Doubling().eval(), blocks="body", width=3), torch.ones(1, 2, 3))


def test_a_stream_that_stands_still_has_no_shares():
    model = tiny("gpt2")
    for block in model.transformer.h:
        for part in (block.attn.c_proj, block.mlp.c_proj):
            part.weight.data.zero_(), part.bias.data.zero_()
    split = increments(model, TEXTS)
    assert (split.total == 0).all() and split.gap == 0 and np.isnan(split.shares()).all()
