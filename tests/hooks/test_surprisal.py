import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from hooks.errors import InputError
from hooks.surprisal import surprisal


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class Recurrent(nn.Module):
    """Seven tokens through a GRU."""

    def __init__(self, bidirectional=False):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(10 if bidirectional else 5, 7)

    def forward(self, tokens):
        return self.head(self.rnn(self.embed(tokens))[0])


TEXTS = [[0, 1, 2, 3, 4, 5, 6, 0], [3, 3, 1], [2, 6, 5, 5, 0]]


def test_a_uniform_model_is_surprised_by_the_log_of_its_vocabulary():
    found = surprisal(lambda tokens: torch.zeros(*tokens.shape, 7), TEXTS)
    assert found.shape == (3, 7) and np.isfinite(found).sum(axis=1).tolist() == [7, 2, 4]
    assert_allclose(found[np.isfinite(found)], math.log(7), atol=1e-12)


def test_a_table_of_transitions_gives_minus_the_log_of_each():
    table = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.0, 0.5, 0.5]], dtype=torch.float64)
    found = surprisal(lambda tokens: table.log()[tokens], [[0, 1, 1, 2, 2, 0]])
    assert_allclose(found, [[-math.log(0.25), -math.log(0.8), -math.log(0.1), math.log(2), math.inf]], atol=1e-12)


def test_a_module_gives_its_own_cross_entropy_whatever_the_batch_and_the_padding():
    model = seeded(Recurrent).double().eval()
    alone = [surprisal(model, [text])[0] for text in TEXTS]
    for batch in (1, 2, 8):
        found = surprisal(model, TEXTS, batch=batch)
        for row, text, one in zip(found, TEXTS, alone, strict=True):
            assert_allclose(row[: len(text) - 1], one, atol=1e-12)
            tokens = torch.tensor([text])
            entropy = nn.functional.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:], reduction="none")
            assert_allclose(one, entropy.detach(), atol=1e-12)


def test_scores_of_the_tokens_themselves_are_taken_as_they_are():
    found = surprisal(lambda tokens: -tokens.double(), TEXTS)
    assert found.shape == (3, 8)
    for row, text in zip(found, TEXTS, strict=True):
        assert_allclose(row[: len(text)], text, atol=0) and np.isnan(row[len(text) :]).all()


def test_a_model_that_sees_ahead_is_refused_even_by_one_token():
    with pytest.raises(InputError, match="not causal: scores change by"):
        surprisal(seeded(lambda: Recurrent(bidirectional=True)).eval(), TEXTS)
    with pytest.raises(InputError, match="not causal"):
        surprisal(lambda tokens: 9.0 * nn.functional.one_hot(tokens.roll(-1, 1), 7), TEXTS)


def test_refusals():
    uniform = lambda tokens: torch.zeros(*tokens.shape, 7)  # noqa: E731
    with pytest.raises(InputError, match="training mode"):
        surprisal(seeded(Recurrent), TEXTS)
    with pytest.raises(InputError, match="but got no texts"):
        surprisal(uniform, [])
    with pytest.raises(InputError, match=r"but got text 1: int64, \(1,\)"):
        surprisal(uniform, [[1, 2], [3]])
    with pytest.raises(InputError, match="text 0: float64"):
        surprisal(uniform, [[1.0, 2.0]])
    with pytest.raises(InputError, match="tokens 1 to 7 came, but the model scores 0 to 6"):
        surprisal(uniform, [[1, 7]])
    with pytest.raises(InputError, match=r"\(1, 2\) gave \(1, 2, 3, 4\)"):
        surprisal(lambda tokens: torch.zeros(*tokens.shape, 3, 4), [[1, 2]])
    with pytest.raises(InputError, match="0 or less, but the model gave 1"):
        surprisal(lambda tokens: torch.ones(tokens.shape), [[1, 2]])
