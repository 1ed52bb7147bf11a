"""A small language model of counts, and Python's own library to train it on.

The model interpolates trigrams, bigrams, unigrams and the uniform distribution by Witten and Bell's rule (IEEE Trans. Inf.
Theory 37, 1085, 1991; interpolated as in Chen and Goodman, Computer Speech and Language 13, 359, 1999, section 2.3):
p(w | c) = (count(c w) + kinds(c) p(w | shorter c)) / (count(c) + kinds(c)), with kinds(c) the number of different words seen
after c. A share of each probability is given to the words of the same text so far, by their frequency (a cache: Kuhn and de
Mori, IEEE Trans. PAMI 12, 570, 1990). Every distribution sums to 1.

The text is the source of the running Python, read where it is installed and never copied: numbers depend on its version.
"""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

WORDS = re.compile(r"\w+|[^\w\s]|\n")  # words, marks, ends of lines
# not its own; tables
OMITTED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
CACHE = 0.2  # share of the words of the same text


@dataclass(frozen=True, eq=False)
class NGram:
    """Counts of order 3 and below.

    Attributes
    ----------
    vocabulary
        Its size; tokens are below it.
    keys, counts
        Of each order: the n-grams seen, ascending (an n-gram is the index of its beginning times the vocabulary, plus its last
        word), and how often.
    totals, kinds
        Of each order: how often each beginning was followed by a word, and by how many different ones.
    cache
        Share of the words of the same text.
    """

    vocabulary: int
    keys: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    totals: tuple[np.ndarray, ...]
    kinds: tuple[np.ndarray, ...]
    cache: float

    def __call__(self, tokens: Tensor) -> Tensor:
        """log p of each token given all before it in its row, (texts, steps)."""
        words = np.asarray(tokens.cpu())
        p = np.full(words.shape, 1 / self.vocabulary)
        index = found = np.zeros_like(words)  # of the beginning before each word; there is one empty beginning
        for order, (keys, counts, totals, kinds) in enumerate(
            zip(self.keys, self.counts, self.totals, self.kinds, strict=True)
        ):
            if order:  # beginnings of this order: n-grams of the last one, a step earlier
                index = np.concatenate([np.full((len(words), 1), -1), found[:, :-1]], axis=1)
            known = index >= 0
            found = _index(keys, np.where(known, index * self.vocabulary + words, -1))
            total, kind = (np.where(known, of[np.maximum(index, 0)], 0) for of in (totals, kinds))
            count = np.where(found >= 0, counts[np.maximum(found, 0)], 0)
            p = np.where(total > 0, (count + kind * p) / np.maximum(total + kind, 1), p)
        before = np.arange(words.shape[1])
        share = np.where(before, self.cache, 0.0)
        return torch.from_numpy(np.log((1 - share) * p + share * _repeats(words) / np.maximum(before, 1)))


def ngram(texts: Sequence[np.ndarray], vocabulary: int, *, cache: float = CACHE) -> NGram:
    """Trigram counts of texts of tokens below ``vocabulary``."""
    keys, counts, totals, kinds = [], [], [], []
    index = [np.zeros(len(text), dtype=np.int64) for text in texts]
    beginnings = 1
    for order in range(3):
        gram = [i * vocabulary + text[order:] for i, text in zip(index, texts, strict=True)]
        key, inverse, count = np.unique(np.concatenate(gram), return_inverse=True, return_counts=True)
        keys.append(key)
        counts.append(count)
        totals.append(np.bincount(key // vocabulary, weights=count, minlength=beginnings).astype(np.int64))
        kinds.append(np.bincount(key // vocabulary, minlength=beginnings))
        index = [part[:-1] for part in np.split(inverse, np.cumsum([len(part) for part in gram])[:-1])]
        beginnings = len(key)
    return NGram(vocabulary, tuple(keys), tuple(counts), tuple(totals), tuple(kinds), cache)


def library_source(*, least: int) -> tuple[list[str], list[str]]:
    """Source of the standard library's modules, in the order of their paths: (training, held out).

    Of the modules with ``least`` words or more every third is held out; all others train.
    """
    root = Path(sysconfig.get_path("stdlib"))
    training: list[str] = []
    held_out: list[str] = []
    long = 0
    for path in sorted(root.rglob("*.py")):
        if OMITTED & set(path.relative_to(root).parts):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        is_long = len(WORDS.findall(text)) >= least
        long += is_long
        (held_out if is_long and long % 3 == 0 else training).append(text)
    return training, held_out


def numbered(training: Sequence[str]) -> dict[str, int]:
    """Word -> token of the words that occur twice or more, by frequency; 0 is kept for all others."""
    counts = Counter(word for text in training for word in WORDS.findall(text))
    often = sorted((word for word, count in counts.items() if count > 1), key=lambda word: (-counts[word], word))
    return {word: token for token, word in enumerate(often, 1)}


def as_tokens(text: str, known: dict[str, int]) -> np.ndarray:
    """(words,)."""
    return np.array([known.get(word, 0) for word in WORDS.findall(text)], dtype=np.int64)


def _index(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each key stands, -1 where it is not."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _repeats(words: np.ndarray) -> np.ndarray:
    """How often each word came before in its row."""
    order = np.argsort(words, axis=1, kind="stable")
    ordered = np.take_along_axis(words, order, axis=1)
    step = np.arange(words.shape[1])
    first = np.concatenate([np.ones((len(words), 1), dtype=bool), np.diff(ordered, axis=1) != 0], axis=1)
    rank = step - np.maximum.accumulate(np.where(first, step, 0), axis=1)
    repeats = np.empty_like(words)
    np.put_along_axis(repeats, order, rank, axis=1)
    return repeats
