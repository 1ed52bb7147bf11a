import pytest
import torch
from torch import nn

from hooks.connections import connections
from hooks.errors import InputError


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_layer=2, n_embd=12, n_head=3, vocab_size=7, n_positions=4)
    ), "transformer.h.1.attn"


def neox():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        num_hidden_layers=2, hidden_size=12, num_attention_heads=3, intermediate_size=20, vocab_size=7,
        max_position_embeddings=4, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPTNeoXForCausalLM(config), "gpt_neox.layers.1.attention"


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=12, num_attention_heads=6, num_key_value_heads=2, intermediate_size=20,
        vocab_size=7, max_position_embeddings=4, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config), "model.layers.1.self_attn"


def bert():
    from transformers import BertConfig, BertModel

    config = BertConfig(
        num_hidden_layers=2,
        hidden_size=12,
        num_attention_heads=3,
        intermediate_size=20,
        vocab_size=7,
        pad_token_id=None,
    )
    return BertModel(config), "encoder.layer.1.attention.self"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [gpt2, neox, llama, bert])
def test_attention_to_one_token_is_the_value_and_out_weights(make):
    """A single token attends to itself alone: what attention adds is W_out W_value x, whatever the heads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, path = make()
    module = module.double().eval()
    for name, value in module.named_parameters():
        value.data.zero_() if name.endswith("bias") else value.data.normal_(generator=torch.Generator().manual_seed(1))
    seen = {}

    def keep(_, args, options, output):
        seen["in"] = options.get("hidden_states", args[0] if args else None)
        seen["out"] = output[0]

    module.get_submodule(path).register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        module(torch.tensor([[3]]))
    joins = {(join.source, join.target): join.weight for join in connections(module)}
    value = joins["1.stream", "1.value"]
    expected = seen["in"][0, 0] @ value.T
    if not path.endswith(".self"):  # BERT's own module ends before the out weights
        expected = expected @ joins["1.value", "1.attention"].T
    assert torch.allclose(seen["out"].reshape(-1), expected, atol=1e-12)
    hidden = 48 if make is gpt2 else 20
    assert joins["1.attention", "1.hidden"].shape == (hidden, 12) and joins["1.hidden", "2.stream"].shape == (
        12,
        hidden,
    )
    assert (("1.attention", "1.gate") in joins) == (make is llama)


def test_fused_rows_are_those_of_torch():
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False)
    joins = {(join.source, join.target): join.weight for join in connections(layer)}
    fused = layer.layers[0].self_attn.in_proj_weight.detach().double()
    assert torch.equal(joins["0.stream", "0.key"], fused[8:16])
    assert joins["0.attention", "0.hidden"].shape == (16, 8)


def test_a_chain_of_layers():
    chain = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    first, second = connections(chain)
    assert (first.source, first.target, second.source) == ("0.units", "1.units", "1.units")
    assert torch.equal(second.weight, chain[2].weight.detach().double())


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_known_is_asked_for():
    state = neox()[0].state_dict()
    with pytest.raises(InputError, match="interleaved by heads: pass heads="):
        connections(state)
    assert len(connections(state, heads=3)) == 12
    with pytest.raises(InputError, match="pass heads= and groups="):
        connections(llama()[0].state_dict())


def test_refusals():
    with pytest.raises(InputError, match="no matrices came"):
        connections({})
    with pytest.raises(InputError, match="nor a chain of layers"):
        connections({"a": torch.zeros(2, 3), "b": torch.zeros(4, 5)})
    with pytest.raises(InputError, match=r"block 0 has no weights for \['out', 'up', 'down'\]"):
        connections({"layers.0.self_attn.in_proj_weight": torch.zeros(6, 2)})
