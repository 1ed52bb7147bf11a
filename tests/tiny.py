"""Transformers models of a few thousand random weights, made without a network: one of each kind of block."""

import copy
from functools import cache

import torch
from torch import nn

VOCABULARY, WIDTH, BLOCKS = 50, 32, 3


@cache
def _made(name: str) -> nn.Module:
    import transformers as hf

    shape = {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "vocab_size": VOCABULARY}
    shape |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    heads = {"num_attention_heads": 4, "attn_implementation": "eager"}
    model, config = {
        "gpt2": (hf.GPT2LMHeadModel, lambda: hf.GPT2Config(**shape, **heads, max_position_embeddings=32)),
        "llama": (
            hf.LlamaForCausalLM,
            lambda: hf.LlamaConfig(**shape, **heads, num_key_value_heads=2, intermediate_size=64),
        ),
        "neox": (hf.GPTNeoXForCausalLM, lambda: hf.GPTNeoXConfig(**shape, **heads, intermediate_size=64)),
        "mamba": (hf.MambaForCausalLM, lambda: hf.MambaConfig(**shape, state_size=4)),
        "mamba2": (
            hf.Mamba2ForCausalLM,
            lambda: hf.Mamba2Config(**shape, state_size=4, num_heads=4, head_dim=16, n_groups=1, chunk_size=4),
        ),
        "bloom": (hf.BloomForCausalLM, lambda: hf.BloomConfig(**shape, n_head=4)),
        "opt": (
            hf.OPTForCausalLM,
            lambda: hf.OPTConfig(**shape, **heads, ffn_dim=64, word_embed_proj_dim=WIDTH, max_position_embeddings=32),
        ),
        "bert": (hf.BertForMaskedLM, lambda: hf.BertConfig(**shape, **heads, intermediate_size=64)),
    }[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model(config()).eval()


def tiny(name: str) -> nn.Module:
    """A fresh copy of the tiny model of this name."""
    return copy.deepcopy(_made(name))


NAMES = ("gpt2", "llama", "neox", "mamba", "mamba2", "bert")
ODD = ("bloom", "opt")  # masks laid out for the batch; an MLP on all texts in one line


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random token numbers."""
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))
