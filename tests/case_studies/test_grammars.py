import numpy as np
import pytest
import torch

from case_studies._grammars import TOMITA, all_words, cyclic, near_words, parity, symmetric, tomita
from case_studies.bilinear_state_tracking import TURNS
from case_studies.streaming_parity import RECIPES, training_words
from tests.known_automata import belongs


@pytest.mark.parametrize("number", TOMITA)
def test_tables_are_the_languages(number):
    """Against the patterns, which are written apart; a machine of the Myhill-Nerode classes is minimal."""
    machine = tomita(number)
    for length in range(9):
        said = machine.says(all_words(length))[:, -1]
        spelled = ["".join(map(str, word)) for word in all_words(length)]
        assert said.tolist() == [int(belongs(number, word)) for word in spelled]
    assert len(machine.minimal()) == len(machine)


def test_parity_counts_ones():
    words = all_words(7)
    assert (parity().says(words)[:, -1] == words.sum(axis=1) % 2).all()


def test_sums_and_permutations():
    words = np.random.default_rng(0).integers(5, size=(50, 12))
    assert (cyclic(5).says(words)[:, -1] == words.sum(axis=1) % 5).all()
    group = symmetric(3)
    images = [tuple(int(letter) - 1 for letter in name) for name in group.symbols]
    for word in np.random.default_rng(1).integers(6, size=(50, 9)):
        place = (0, 1, 2)
        for symbol in word:  # each letter is carried on from where it is
            place = tuple(images[symbol][letter] for letter in place)
        assert images[group.says(word[None])[0, -1]] == place
    assert not np.array_equal(group.transitions, group.transitions.T)  # it does not commute


@pytest.mark.parametrize(("name", "group"), [("modulo 2", cyclic(2)), ("modulo 5", cyclic(5)), ("S3", symmetric(3))])
def test_the_symbols_held_have_the_order_claimed(name, group):
    symbol, order = TURNS[name]
    visited = group.states(np.full((1, 6), symbol))[0]
    assert (visited[1:] == 0).argmax() + 1 == order


@pytest.mark.parametrize("number", TOMITA)
def test_near_words_are_in_the_language_as_far_as_asked(number):
    """A third stays where some word of the language is still ahead, out of the sink; another third differs in one place."""
    words = near_words(tomita(number), runs=60, steps=15, generator=torch.Generator().manual_seed(0)).numpy()
    assert words.shape == (60, 15) and set(np.unique(words)) <= {0, 1}
    sink = {1: 1, 2: 2, 3: 4, 4: 3, 7: 4}.get(number)
    states = tomita(number).states(words)
    assert sink is None or (not (states[::3] == sink).any() and (states[1::3] == sink).any())


def test_training_words_are_all_of_them_or_the_share():
    every = training_words(RECIPES["seed 0"])
    assert [len(words) for words in every] == [2**length for length in range(1, 11)]
    part = training_words(RECIPES["30 % of the words"])
    assert sum(map(len, part)) == round(0.3 * 2046)
