"""Tomita's seven languages (1982) as tables and as patterns, written out twice so that each checks the other."""

import re

import numpy as np

from analyses.symbols.automaton import Automaton, automaton

# state -> (after 0, after 1); 1 where the word so far is in the language.
TABLES = {
    1: ([[1, 0], [1, 1]], [1, 0]),
    2: ([[2, 1], [0, 2], [2, 2]], [1, 0, 0]),
    3: ([[0, 1], [2, 0], [3, 4], [2, 1], [4, 4]], [1, 1, 0, 1, 0]),
    4: ([[1, 0], [2, 0], [3, 0], [3, 3]], [1, 1, 1, 0]),
    5: ([[1, 2], [0, 3], [3, 0], [2, 1]], [1, 0, 0, 0]),
    6: ([[1, 2], [2, 0], [0, 1]], [1, 0, 0]),
    7: ([[0, 1], [2, 1], [2, 3], [4, 3], [4, 4]], [1, 1, 1, 1, 0]),
}
SIZES = {1: 2, 2: 3, 3: 5, 4: 4, 5: 4, 6: 3, 7: 5}  # minimal and complete, by Myhill-Nerode classes


def tomita(number: int) -> Automaton:
    table, accepted = TABLES[number]
    return automaton(table, accepted, outputs=("no", "yes"))


def belongs(number: int, word: str) -> bool:
    """Whether a word over 0 and 1 is in the language."""
    match number:
        case 1:
            return re.fullmatch("1*", word) is not None
        case 2:
            return re.fullmatch("(10)*", word) is not None
        case 3:  # no odd run of 1s is followed by an odd run of 0s
            return re.search("(?<!1)1(11)*0(00)*(?!0)", word) is None
        case 4:
            return "000" not in word
        case 5:
            return word.count("0") % 2 == 0 and word.count("1") % 2 == 0
        case 6:
            return (word.count("0") - word.count("1")) % 3 == 0
        case 7:
            return re.fullmatch("0*1*0*1*", word) is not None
    raise ValueError(number)


def words(length: int) -> np.ndarray:
    """(2^length, length): every word of one length."""
    return (np.arange(2**length)[:, None] >> np.arange(length)[::-1]) & 1
