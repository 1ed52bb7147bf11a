"""Languages and groups that networks learn to read: the true machines, all words of a length, and words near a language."""

from itertools import permutations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analyses.symbols.automaton import Automaton, automaton

# State -> (after 0, after 1), and whether a word that ends there is in the language (Tomita, 1982; minimal).
TOMITA = {
    1: ([[1, 0], [1, 1]], [1, 0]),  # 1*
    2: ([[2, 1], [0, 2], [2, 2]], [1, 0, 0]),  # (10)*
    3: ([[0, 1], [2, 0], [3, 4], [2, 1], [4, 4]], [1, 1, 0, 1, 0]),  # no odd run of 1s before an odd run of 0s
    4: ([[1, 0], [2, 0], [3, 0], [3, 3]], [1, 1, 1, 0]),  # no 000
    5: ([[1, 2], [0, 3], [3, 0], [2, 1]], [1, 0, 0, 0]),  # even numbers of 0s and of 1s
    6: ([[1, 2], [2, 0], [0, 1]], [1, 0, 0]),  # as many 0s as 1s, modulo 3
    7: ([[0, 1], [2, 1], [2, 3], [4, 3], [4, 4]], [1, 1, 1, 1, 0]),  # 0*1*0*1*
}


def tomita(number: int) -> Automaton:
    """The minimal machine of one of Tomita's seven languages."""
    table, accepted = TOMITA[number]
    return automaton(table, accepted, outputs=("no", "yes"))


def parity() -> Automaton:
    """Whether the number of 1s read is odd."""
    return automaton([[0, 1], [1, 0]], [0, 1], outputs=("even", "odd"))


def cyclic(order: int) -> Automaton:
    """Addition modulo ``order``: symbols and outputs are its residues."""
    residues = np.arange(order)
    return automaton((residues[:, None] + residues) % order, residues)


def symmetric(letters: int) -> Automaton:
    """Composition of permutations, identity first: after a word, the product of its symbols, the last applied last."""
    elements = list(permutations(range(letters)))
    names = ["".join(str(image + 1) for image in element) for element in elements]
    table = [[elements.index(tuple(last[image] for image in so_far)) for last in elements] for so_far in elements]
    return automaton(table, np.arange(len(elements)), symbols=names, outputs=names)


def all_words(length: int) -> Int[np.ndarray, "words steps"]:
    """(2^length, length): every word over two symbols, in the order of binary numbers."""
    return (np.arange(2**length)[:, None] >> np.arange(length)[::-1]) & 1


def near_words(machine: Automaton, *, runs: int, steps: int, generator: torch.Generator) -> Int[Tensor, "runs steps"]:
    """Words over two symbols: a third drawn from those in the language, as far as a word can stay in it, a third of such words
    with one symbol changed, and a third any words.

    A walk takes a symbol after which some word of the language is still ahead; where both are, a coin decides, which each word
    draws its own bias of, so that long runs of one symbol occur. The last output counts as the language. Uniform words alone
    would leave most languages within a few symbols.
    """
    table = torch.as_tensor(machine.transitions)
    alive = torch.as_tensor(machine.labels == len(machine.outputs) - 1)
    for _ in range(len(machine)):
        alive = alive | alive[table].any(dim=1)
    coins = torch.rand(runs, 1, generator=generator)
    words = (torch.rand(runs, steps, generator=generator) < coins).long()
    state = torch.full((runs,), machine.initial)
    inside = torch.arange(runs) % 3 < 2
    for step in range(steps):
        drawn = words[:, step]
        fails = inside & ~alive[table[state, drawn]] & alive[table[state, 1 - drawn]]
        words[:, step] = torch.where(fails, 1 - drawn, drawn)
        state = table[state, words[:, step]]
    changed = torch.randint(steps, (runs,), generator=generator)
    rows = torch.arange(runs)
    words[rows, changed] ^= (rows % 3 == 1).long()
    return words
