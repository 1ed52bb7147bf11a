"""How far back does the next symbol depend on the past? The order of a Markov chain, tested.

Method: order m holds when a symbol is independent of everything before the last m. The likelihood-ratio statistic of order m
against order m + 1 is G = 2 sum n(a w b) log( n(a w b) n(w) / (n(a w) n(w b)) ) over words w of m symbols. The chi-square law
of G fails where words are rare or forbidden, so p comes from shuffles that keep the count of every word of m + 1 symbols
exactly, all equally likely under order m (Pethel and Hahs, Physica D 269, 42 (2014)). Every order up to the highest is tested,
at 5 % divided by their number, and the order is one above the last that is rejected: a symbol may depend on the one before
last and not on the last, so that the first order to pass proves nothing.

The order is that of the data: more of it can reject more, and dependence on what lies beyond the highest alone is not seen.
Takes Regions; costs draws x O(symbols) an order, in Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.symbols._sequences import PADDING, Sequence, counts, sequence, shuffled_keeping
from analyses.symbols.regions import Regions
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class MarkovOrder(Result):
    """The lowest order above every order that is rejected.

    Attributes
    ----------
    order
        -1 when the highest order tested was rejected, or there was nothing to test.
    statistics : (tested,)
        G of orders 0, 1, ... against one more.
    p : (tested,)
        (1 + draws that reach G) / (1 + draws): one-sided, since dependence only raises G.
    rejected : (tested,)
        p at most 5 % divided by the orders tested.
    coding
        What a symbol is: "steps", "jumps" or "turns".
    outcome
        CONVERGED when an order stands; OUT_OF_STEPS when the highest was rejected; TOO_SHORT when none could be tested.
    nulls
        One an order tested: G under that order.
    checks
        G is not negative.
    """

    order: int
    statistics: Float[np.ndarray, " tested"]
    p: Float[np.ndarray, " tested"]
    rejected: Bool[np.ndarray, " tested"]
    coding: str
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many orders were rejected, which one stands, and the p of it and of the one below."""
        tested = len(self.p)
        if not tested:
            return "0 orders tested: too few symbols"
        text = f"{int(self.rejected.sum())} of {counted(tested, 'order')} rejected"
        if self.order < 0:
            return f"{text}, the highest among them (p = {self.p[-1]:.2g}): memory beyond {tested - 1} {self.coding}"
        text += f": order {self.order} of {self.coding} stands (p = {self.p[self.order]:.2g})"
        return text + (f", order {self.order - 1} does not (p = {self.p[self.order - 1]:.2g})" if self.order else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """G of every order against its draws."""
        ax = axes_or_new(ax)
        for order, null in enumerate(self.nulls):
            ax.plot(np.full(len(null.draws), order), null.draws, ".", color="0.6", ms=3)
        ax.plot(range(len(self.statistics)), self.statistics, "o", color="C0", label="observed")
        ax.set(xlabel="order", ylabel="G", yscale="symlog")
        if len(self.statistics):
            ax.set_xticks(range(len(self.statistics)))
            ax.legend(fontsize=7)
        return ax


def markov_order(
    coded: Regions, *, highest: int = 4, draws: int = 99, generator: np.random.Generator | None = None
) -> MarkovOrder:
    """The Markov order of a symbolic sequence: the lowest above all that it rejects.

    Parameters
    ----------
    coded
        What ``regions`` returns, or its ``jump_coded()`` or ``read_at(turns)``; runs are never joined.
    highest
        The last order tested.
    draws
        Shuffles an order; 20 an order tested, less one, or more.
    generator
        Of the shuffles; numpy's with seed 0 when left out.

    Raises
    ------
    InputError
        For fewer draws, which could reject nothing, or a negative order.
    """
    if highest < 0 or draws < 20 * (highest + 1) - 1:
        needed = 20 * (highest + 1) - 1
        raise InputError(
            f"orders begin at 0, and testing {highest + 1} of them at 5 % needs {needed} draws, but {draws=} came"
        )
    symbols = sequence(coded)
    generator = generator or np.random.default_rng(0)
    statistics, p, nulls = [], [], []
    for order in range(min(highest + 1, int(symbols.left.max(initial=0)) - 1)):
        G = _statistic(symbols, order)
        drawn = np.array([_statistic(shuffled_keeping(symbols, order + 1, generator), order) for _ in range(draws)])
        statistics.append(G)
        p.append((1 + int((drawn >= G - 1e-9 * (1 + abs(G))).sum())) / (1 + draws))
        nulls.append(Null(f"order {order}", "what came before the last symbols does not matter", "sequence", drawn, G))
    rejected = np.array(p) <= LEVEL / max(len(p), 1)
    above = 1 + int(np.flatnonzero(rejected).max(initial=-1))
    stands = above < len(p)
    return MarkovOrder(
        order=above if stands else -1,
        statistics=np.array(statistics),
        p=np.array(p),
        rejected=rejected,
        coding=coded.coding,
        outcome=Outcome.CONVERGED if stands else Outcome.OUT_OF_STEPS if p else Outcome.TOO_SHORT,
        nulls=tuple(nulls),
        checks=(Check("G below 0 by", 0.0, min([0.0, *statistics]), 1e-8 * (1 + len(symbols.symbols))),),
    )


def _statistic(symbols: Sequence, order: int) -> float:
    """G from the windows of order + 2 symbols alone, so that all its counts agree."""
    *_, middle, context, whole = (None, *islice(symbols.words(), max(order - 1, 0), order + 2))
    at = np.flatnonzero(whole != PADDING)
    begun, ended = context[at], context[at + 1]  # a w, w b
    inner = np.zeros(len(at), dtype=np.int64) if order == 0 else middle[at + 1]

    def surprise(words: np.ndarray) -> float:
        table = counts(words)
        table = table[table > 0]
        return float((table * np.log(table)).sum())

    return 2 * (surprise(whole[at]) + surprise(inner) - surprise(begun) - surprise(ended))
