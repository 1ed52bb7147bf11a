import copy
import socket

import numpy as np
import pytest
import torch
from torch import nn

from hooks.capture import capture
from hooks.errors import CaptureError, InputError
from hooks.stack import record_stream, stack_of
from tests.tiny import BLOCKS, NAMES, WIDTH, tiny, tokens

KINDS = {
    "gpt2": ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"),
    "llama": ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"),
    "neox": (
        "resid_pre",
        "attn_out",
        "mlp_out",
        "resid_post",
    ),  # attention and MLP side by side: no stream between them
    "mamba": ("resid_pre", "mixer_out", "resid_post"),
    "mamba2": ("resid_pre", "mixer_out", "resid_post"),
    "bert": ("resid_pre", "attn_out", "mlp_out", "resid_post"),  # normalises after adding: no resid_mid
}


def bridged(model):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model = copy.deepcopy(model)
    return build_bridge_from_module(model, type(model).__name__, hf_config=model.config).eval()


def all_sites(stack, inputs):
    with capture(stack.module, "*", places=stack.sites) as tape:
        stack.run(inputs)
    return tape


def snapshot(model):
    return {
        "names": [name for name, _ in model.named_modules()],
        "hooks": [(dict(part._forward_hooks), dict(part._forward_pre_hooks)) for part in model.modules()],
        "flags": [part.training for part in model.modules()] + [p.requires_grad for p in model.parameters()],
        "config": model.config.to_dict(),
    }


@pytest.mark.parametrize("name", NAMES)
def test_sites_bear_the_names_and_hold_the_values_of_transformer_lens(name):
    model, inputs = tiny(name), tokens(3, 9)
    stack = stack_of(model)
    assert list(stack.sites) == [f"blocks.{k}.{kind}" for k in range(BLOCKS) for kind in KINDS[name]]
    _, cache = bridged(model).run_with_cache(inputs)
    tape = all_sites(stack, inputs)
    for site in tape:
        block, _, kind = site.rpartition(".")
        # its own attention of GPT-2 rounds otherwise; the others agree to the bit
        torch.testing.assert_close(tape[site], cache[f"{block}.hook_{kind}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_to_the_step_of_a_block_and_blocks_pass_one_stream_on(name):
    tape = all_sites(stack_of(tiny(name)), tokens(2, 7))
    for k in range(BLOCKS):
        at = {kind: tape[f"blocks.{k}.{kind}"] for kind in KINDS[name]}
        added = sum(at[part] for part in ("attn_out", "mlp_out", "mixer_out") if part in at)
        gap = (at["resid_pre"] + added - at["resid_post"]).abs().max()
        # float32 of numbers near 1; BERT normalises the sum, so its parts are no increments
        assert (gap < 1e-6) == (name != "bert")
        if "resid_mid" in at:
            assert (at["resid_pre"] + at["attn_out"] - at["resid_mid"]).abs().max() < 1e-6
        if k:
            assert torch.equal(at["resid_pre"], tape[f"blocks.{k - 1}.resid_post"])


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_came_and_nothing_is_fetched(name, monkeypatch):
    def refused(*args):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    model = tiny(name)
    before, weights = snapshot(model), {key: value.clone() for key, value in model.state_dict().items()}
    stack = stack_of(model)
    record_stream(stack, tokens(2, 5))
    all_sites(stack, tokens(2, 5))
    with pytest.raises(CaptureError, match=r"a block gave \(2, 5, 32\)"):
        record_stream(stack_of(model, width=31), tokens(2, 5))
    assert stack.module is model and snapshot(model) == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["gpt2", "mamba"])
def test_a_bridge_has_the_same_sites_and_stream_as_the_model_in_it(name):
    model, inputs = tiny(name), tokens(2, 6)
    bridge = stack_of(bridged(model))
    assert bridge.width == WIDTH and list(bridge.sites) == list(stack_of(model).sites)
    np.testing.assert_allclose(
        record_stream(bridge, inputs).states, record_stream(stack_of(model), inputs).states, atol=1e-6
    )


def test_a_body_without_its_head_has_the_same_sites():
    import transformers

    model = tiny("bert")
    body = stack_of(model.bert)
    assert isinstance(body.module, transformers.BertModel) and body.blocks[0] == "encoder.layer.0"
    assert list(body.sites) == list(stack_of(model).sites)


def test_stream_is_what_the_model_says_of_itself():
    model, inputs = tiny("llama"), tokens(3, 8)
    stream = record_stream(stack_of(model), inputs, batch=2)
    with torch.no_grad():
        said = model(inputs, output_hidden_states=True).hidden_states[:-1]  # its last one is after the final norm
    assert stream.states.shape == (3 * 8, BLOCKS + 1, WIDTH) and stream.clock == "layer"
    expected = torch.stack(said, dim=2).flatten(0, 1)
    np.testing.assert_allclose(stream.states[:, :BLOCKS], expected.numpy(), atol=1e-6)  # batches of 2 round otherwise
    assert (stream.labels["text"] == np.repeat(range(3), 8)).all()
    assert (stream.labels["position"] == np.tile(range(8), 3)).all()
    assert (stream.labels["token"] == inputs.flatten().numpy()).all()
    assert stream.drives.shape == (24, BLOCKS, 1) and (stream.drives[5, :, 0] == range(BLOCKS)).all()


def test_texts_of_any_lengths_keep_their_order_and_positions():
    stack = stack_of(tiny("gpt2"))
    texts = [tokens(length, seed=length) for length in (5, 3, 5, 1)]
    stream = record_stream(stack, texts, positions=-1)
    assert (stream.labels["position"] == [4, 2, 4, 0]).all()
    assert (stream.labels["token"] == [text[-1] for text in texts]).all()
    for run, text in enumerate(texts):  # one text alone rounds otherwise than a batch
        alone = record_stream(stack, text[None]).states[-1]
        np.testing.assert_allclose(stream.states[run], alone, atol=1e-6)
    assert (record_stream(stack, texts, positions=slice(1, 3)).labels["text"] == [0, 0, 1, 1, 2, 2]).all()
    assert (record_stream(stack, texts[:1], positions=[-1, 0]).labels["position"] == [4, 0]).all()


class Doubling(nn.Module):
    """Blocks that double the stream, in a container of their own."""

    def __init__(self, blocks=4, width=3, rounds=1):
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(blocks)))
        for block in self.body:
            block.weight.data = 2 * torch.eye(width)
        self.rounds = rounds

    def forward(self, x):
        for _ in range(self.rounds):
            x = self.body(x)
        return x


def test_plain_modules_by_the_names_of_their_blocks():
    vectors = torch.ones(2, 5, 3)
    stack = stack_of(Doubling().eval(), blocks="body", width=3)
    stream = record_stream(stack, vectors, positions=[0])
    assert (stream.states == 2.0 ** np.arange(5)[None, :, None]).all() and (stream.labels["token"] == -1).all()
    assert list(stack.sites) == [f"blocks.{k}.resid_{side}" for k in range(4) for side in ("pre", "post")]
    twice = record_stream(stack_of(Doubling(rounds=3).eval(), blocks=["body.0", "body.1"], width=3), vectors)
    assert twice.states.shape[1] == 1 + 3 * 2  # each call of a block is a step
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    ).eval()
    assert record_stream(stack_of(encoder, width=8), torch.ones(1, 4, 8)).states.shape == (4, 3, 8)


def test_refusals_say_what_to_do():
    with pytest.raises(InputError, match=r"training mode.*call \.eval\(\) first"):
        stack_of(tiny("gpt2").train())
    with pytest.raises(InputError, match=r"no nn\.ModuleList; say where its blocks are"):
        stack_of(Doubling().eval())
    with pytest.raises(InputError, match="pass width="):
        stack_of(Doubling().eval(), blocks="body")
    with pytest.raises(InputError, match="no module 'tail'"):
        stack_of(Doubling().eval(), blocks="tail", width=3)
    with pytest.raises(InputError, match=r"no blocks \['body\.9'\]"):
        stack_of(Doubling().eval(), blocks=["body.9"], width=3)
    with pytest.raises(InputError, match="a dict came"):
        stack_of({})
    both = nn.ModuleDict({"left": nn.ModuleList([nn.Linear(2, 2)]), "right": nn.ModuleList([nn.Linear(2, 2)])})
    with pytest.raises(InputError, match="several of one length: left, right"):
        stack_of(both)
    with pytest.raises(InputError, match="batch_first=True"):
        stack_of(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2, enable_nested_tensor=False).eval(), width=8)
    stack = stack_of(tiny("gpt2"))
    for bad in ([], [[]], [[0.5]], "text", 3):
        with pytest.raises(InputError, match=r"texts are|a text is"):
            record_stream(stack, bad)
    for positions in (5, -6, [0, 7], 1.5):
        with pytest.raises(InputError, match="do not lie in a text of 5 steps"):
            record_stream(stack, tokens(1, 5), positions=positions)
