from dataclasses import replace

import numpy as np
import pytest
import torch

from case_studies._ngram import library_source
from case_studies._small_gpt import as_bytes, shipped, untrained
from case_studies.residual_stream_depth import _half_blocks
from case_studies.residual_stream_depth import study as depth
from hooks.errors import InputError, LoadError
from hooks.stack import record_stream, stack_of
from hooks.surprisal import surprisal


def spans(count, steps):
    _, held_out = library_source(least=1140)
    return np.stack([as_bytes(text)[200 : 200 + steps] for text in held_out[:count]])


def test_the_shipped_network_predicts_what_it_has_not_seen():
    # log2(256) = 8 bits a byte know nothing; 3.2 is below any model of single bytes (4.6 on such text), whatever the Python
    bits = surprisal(shipped(), spans(8, 96)).mean() / np.log(2)
    assert bits < 3.2
    assert abs(surprisal(untrained(1), spans(8, 96)).mean() / np.log(2) - 8) < 0.5


def test_both_sites_of_a_layer_lie_on_its_stream():
    model, texts = shipped(), spans(3, 24)
    halves = _half_blocks(model, texts)
    whole = record_stream(stack_of(model), texts, positions=-1)
    assert halves.states.shape == (3, 24, 64) and whole.states.shape == (3, 13, 64)
    np.testing.assert_array_equal(halves.states[:, ::2], whole.states[:, :-1])
    # the MLP adds to the site that enters it what leads to the next block
    block = model.transformer.h[3]
    with torch.no_grad():
        mid = torch.tensor(halves.states[:, 7], dtype=torch.float32)
        after = mid + block.mlp(block.ln_2(mid))
    np.testing.assert_allclose(after.numpy(), halves.states[:, 8], atol=1e-4)  # float32 at norms of ten


def test_an_untrained_network_is_drawn_from_its_seed():
    one, again, other = (untrained(seed, layers=2, units=8).transformer.wte.weight for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_an_encoder_from_a_folder_is_read_on_the_same_modules(tmp_path):
    """A BERT has no next token to predict and no site between attention and MLP; both are left out, and said."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: token for token, word in enumerate(["?", "self", "def", "return", "import", *"().,:=[]"])}
    written = Tokenizer(models.WordLevel(words, unk_token="?"))
    written.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=written, unk_token="?").save_pretrained(tmp_path / "model")
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "model")
    study = replace(depth, scales={"tiny": {**depth.scales["tiny"], "texts": 6, "displaced": 0}})
    report = study.run("tiny", tmp_path / "page", hub=str(tmp_path / "model"))
    assert report.sentences[0].startswith("BertModel of ") and report.sentences[0].endswith(
        "6 spans of 16 tokens from 6 modules held out, which predicts no next token."
    )
    turns = next(f.result for f in report.findings if f.title.startswith("trained: turns at both sites"))
    assert len(turns.per_text) == 6
    with pytest.raises(LoadError):
        study.run("tiny", tmp_path / "none", hub=str(tmp_path / "page"))


def test_scores_are_asked_of_a_model_with_a_head():
    with pytest.raises(InputError, match="load it with its head"):
        surprisal(lambda tokens: (tokens,), np.zeros((2, 4), dtype=np.int64))
