"""Symbolic sequences of known entropy and grammar, drawn by their definitions."""

import numpy as np

MEAN = (1 + np.sqrt(5)) / 2
GOLDEN = np.log(MEAN)
CHAIN = np.array([[0.9, 0.1, 0.0], [0.05, 0.8, 0.15], [0.0, 0.3, 0.7]])  # a chain graph 0 - 1 - 2


def coin(steps, seed=0):
    return np.random.default_rng(seed).integers(2, size=steps)


def golden(steps, seed=0):
    """No two ones in a row; from 0 a one follows with probability 1 / mean^2, which has the greatest entropy."""
    draws, symbols = np.random.default_rng(seed).random(steps), np.zeros(steps, dtype=np.int64)
    for t in range(1, steps):
        symbols[t] = not symbols[t - 1] and draws[t] < 1 / MEAN**2
    return symbols


def even(steps, seed=0):
    """Between ones an even number of zeros: from state 0 a one (probability 1 / mean) or the first of two zeros."""
    draws, symbols, odd = np.random.default_rng(seed).random(steps), np.zeros(steps, dtype=np.int64), False
    for t in range(steps):
        symbols[t] = not odd and draws[t] < 1 / MEAN
        odd = not odd and not symbols[t]
    return symbols


def chain(runs, steps, seed=0):
    """A Markov chain from its stationary distribution, by inverse transform."""
    generator = np.random.default_rng(seed)
    rows = CHAIN.cumsum(axis=1)
    symbols = np.zeros((runs, steps), dtype=np.int64)
    symbols[:, 0] = np.searchsorted(stationary().cumsum(), generator.random(runs))
    for t in range(1, steps):
        symbols[:, t] = (generator.random(runs)[:, None] > rows[symbols[:, t - 1]]).sum(axis=1)
    return symbols


def stationary():
    values, vectors = np.linalg.eig(CHAIN.T)
    row = vectors[:, np.argmax(values.real)].real
    return row / row.sum()
