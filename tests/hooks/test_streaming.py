import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from analyses.maps.depth_growth import depth_growth
from hooks.contract import check_replay
from hooks.errors import LoadError
from hooks.families.residual import residual
from hooks.stack import record_stream, stack_of
from hooks.streaming import INDEX, SINGLE, streamed

TOKENS = np.arange(10).reshape(2, 5)


def saved(kind, folder, *, shard="20KB", **sizes):
    """A tiny model of random weights with its head, saved in shards."""
    import transformers

    configs = {
        "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 30, "n_positions": 8}),
        "llama": (
            "Llama",
            {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
        ),
        "neox": (
            "GPTNeoX",
            {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
        ),
        "mamba": ("Mamba", {"hidden_size": 16, "num_hidden_layers": 3, "state_size": 4}),
    }
    name, settings = configs[kind]
    config = getattr(transformers, f"{name}Config")(**{"vocab_size": 30, **settings, **sizes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        suffix = "LMHeadModel" if kind == "gpt2" else "ForCausalLM"
        model = getattr(transformers, name + suffix)(config).eval().requires_grad_(False)
    model.save_pretrained(folder, max_shard_size=shard)
    return model


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox", "mamba"])
def test_states_are_those_of_the_whole_model_and_blocks_are_empty_between_passes(kind, tmp_path):
    plain = saved(kind, tmp_path)
    assert len(set(json.loads((tmp_path / INDEX).read_text())["weight_map"].values())) > 1  # it is in shards
    model = streamed(tmp_path)
    stack = stack_of(model)
    expected, found = (record_stream(one, TOKENS) for one in (stack_of(plain), stack))
    np.testing.assert_allclose(found.states, expected.states, rtol=0, atol=1e-6)  # float32 entries of order 1
    assert all(part.is_meta for path in stack.blocks for part in model.get_submodule(path).parameters())
    assert not model.training and not any(part.requires_grad for part in model.parameters())


def test_one_file_a_wider_dtype_and_weights_that_are_read_when_asked(tmp_path):
    plain = saved("gpt2", tmp_path, shard="1GB")
    assert (tmp_path / SINGLE).is_file()
    model = streamed(tmp_path, dtype=torch.float64)
    assert record_stream(stack_of(model), TOKENS).states.shape == (10, 4, 16)
    block = plain.transformer.h[1].state_dict()
    read = model.h[1].state_dict()
    assert read.keys() == block.keys() and all(torch.equal(read[name], block[name].double()) for name in block)


def test_a_block_that_fails_is_emptied_all_the_same(tmp_path):
    saved("llama", tmp_path)
    model = streamed(tmp_path)
    with pytest.raises(RuntimeError), torch.no_grad():
        model.layers[0](torch.zeros(1, 2, 7))
    assert all(part.is_meta for part in model.layers[0].parameters())


def test_the_map_over_depth_and_its_slopes_work_block_by_block(tmp_path):
    """The blocks of the copy in float64 are filled as well; the growth rates are those of the plain model."""
    plain, model = saved("gpt2", tmp_path), streamed(tmp_path)
    rates = []
    for one in (plain, model):
        dynamics = residual(stack_of(one), TOKENS[0], positions=-1)
        trajectory = record_stream(stack_of(one), TOKENS[:1], positions=-1)
        check_replay(dynamics, trajectory, tolerance=1e-5)
        rates.append(depth_growth([dynamics], trajectory, kept=3, draws=0).rates[0, -1])
    np.testing.assert_allclose(rates[0], rates[1], atol=1e-5)


def test_folders_that_cannot_be_streamed_are_refused(tmp_path):
    with pytest.raises(LoadError, match=r"has no config\.json"):
        streamed(tmp_path)
    saved("llama", tmp_path)
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"].pop("model.layers.1.mlp.up_proj.weight")
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(LoadError, match=r"has no weights layers.1.mlp.up_proj.weight \(1 in all\) of LlamaModel"):
        streamed(tmp_path)
    (tmp_path / INDEX).unlink()
    with pytest.raises(LoadError, match=r"holds neither model\.safetensors nor"):
        streamed(tmp_path)


# The memory of a process may grow by so much once its libraries have been loaded by a run of a tiny model
LIMITED = """
import resource, sys, numpy as np, transformers
from hooks.stack import record_stream, stack_of
from hooks.streaming import streamed
tiny, folder, how, allowed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
def states(folder):
    model = streamed(folder) if how == "streamed" else transformers.AutoModel.from_pretrained(folder).eval()
    return record_stream(stack_of(model), np.arange(30).reshape(2, 15), batch=2).states
states(tiny)
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + allowed, held + allowed))
print(states(folder)[:, -1].sum())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a process as Linux does")
def test_a_model_larger_than_the_memory_allowed_runs_when_streamed_and_not_otherwise(tmp_path):
    """16 blocks of 28 MB, 450 MB in all, in 80 MB: two blocks, one of them the file's pages, and 24 MB for states and slack."""
    tiny, big = tmp_path / "tiny", tmp_path / "big"
    saved("gpt2", tiny, n_positions=32)
    plain = saved("gpt2", big, shard="29MB", n_embd=768, n_layer=16, n_head=12, n_positions=32)
    expected = record_stream(stack_of(plain), np.arange(30).reshape(2, 15)).states[:, -1].sum()
    allowed = 80 << 20
    assert sum(weight.nbytes for weight in plain.parameters()) > 5 * allowed
    streams, whole = (
        subprocess.run(
            [sys.executable, "-c", LIMITED, tiny, big, how, str(allowed)], capture_output=True, text=True, check=False
        )
        for how in ("streamed", "whole")
    )
    assert streams.returncode == 0, streams.stderr
    assert float(streams.stdout) == pytest.approx(expected, abs=1e-2)  # a sum of 23 000 numbers good to 1e-6
    assert whole.returncode != 0 and "memory" in whole.stderr
