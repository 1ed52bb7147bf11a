import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from case_studies._ngram import as_tokens, library_source, ngram, numbered
from hooks.errors import InputError


def a_model(cache=0.2):
    texts = [np.random.default_rng(seed).zipf(1.5, 60) % 6 for seed in range(4)]
    return ngram(texts, 6, cache=cache)


@pytest.mark.parametrize("cache", [0.0, 0.2])
def test_the_probabilities_of_the_next_word_sum_to_one_after_anything(cache):
    model = a_model(cache)
    for length in (0, 1, 2, 9):
        before = np.random.default_rng(length).integers(0, 6, length)
        tokens = torch.tensor(np.stack([[*before, word] for word in range(6)]))
        p = model(tokens)[:, -1].exp()
        assert (p > 0).all() and p.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_rule_of_witten_and_bell_by_hand():
    # a b a b a c over {a, b, c, d}: 3 a, 2 b, 1 c, three kinds of six; after a: b, b, c; after a b: a, a; after b a: b, c
    model = ngram([np.array([0, 1, 0, 1, 0, 2])], 4, cache=0.0)
    uni = {w: (count + 3 / 4) / (6 + 3) for w, count in enumerate((3, 2, 1, 0))}
    after_a = {w: (count + 2 * uni[w]) / (3 + 2) for w, count in ((1, 2), (2, 1), (3, 0))}
    after_ba = {w: (count + 2 * after_a[w]) / (2 + 2) for w, count in ((1, 1), (2, 1), (3, 0))}
    for word in (1, 2, 3):
        p = model(torch.tensor([[1, 0, word]]))[0].exp()
        assert p[0] == pytest.approx(uni[1], abs=1e-12) and p[2] == pytest.approx(after_ba[word], abs=1e-12)
    p = model(torch.tensor([[3, 0, 1]]))[0].exp()  # nothing follows d, and d a was not seen: shorter beginnings alone
    assert p[1] == pytest.approx(uni[0], abs=1e-12) and p[2] == pytest.approx(after_a[1], abs=1e-12)


def test_the_cache_is_the_frequency_of_the_word_in_its_own_text():
    tokens = torch.tensor([[3, 1, 3, 3], [0, 0, 2, 5]])
    with_cache, without = a_model(0.2)(tokens).exp(), a_model(0.0)(tokens).exp()
    frequency = torch.tensor([[0, 0, 1 / 2, 2 / 3], [0, 1, 0, 0]])
    assert_allclose(with_cache[:, 1:], (0.8 * without + 0.2 * frequency)[:, 1:], atol=1e-12)
    assert_allclose(with_cache[:, 0], without[:, 0], atol=1e-12)


def test_the_source_is_read_in_one_order_and_the_held_out_part_is_apart():
    training, held_out = library_source(least=10_000)
    assert held_out and library_source(least=10_000) == (training, held_out)
    assert not set(training) & set(held_out)
    known = numbered(["a b a", "b a + once"])
    assert known == {"a": 1, "b": 2} and as_tokens("b + a", known).tolist() == [2, 0, 1]


def test_a_hub_is_refused_where_there_is_none_to_use(tmp_path):
    import case_studies

    with pytest.raises(InputError, match="takes no model of a hub, so 'gpt2' has no use"):
        case_studies.load("flip_flop_memory").run("tiny", tmp_path, hub="gpt2")


@pytest.mark.slow
def test_a_language_model_from_a_folder_scores_the_same_modules(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    import case_studies

    words = {
        word: token for token, word in enumerate(["?", *"abcdefghijklmnopqrstuvwxyz_.,:()=", "self", "def", "return"])
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(tmp_path / "model")
    config = GPT2Config(
        vocab_size=len(words), n_positions=1024, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    report = case_studies.load("fractal_language").run("tiny", tmp_path / "report", hub=str(tmp_path / "model"))
    assert "1012 steps" in " ".join(report.sentences)  # 1023 are scored, of which 1.5 decades need 1012
    with pytest.raises(InputError, match="gives no causal language model"):
        case_studies.load("fractal_language").run("tiny", tmp_path / "none", hub=str(tmp_path))
