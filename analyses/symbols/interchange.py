"""Does the network itself have the states of this machine? Its states are exchanged, and it must read on as the machine says.

Words lead the machine to a state, and the network to one of its own. The network's state after one word (the donor's) is put in
the place of that after another (the recipient's), and it reads on. If the machine's state is all that matters, then a swap
within a class changes no output, and a swap across classes gives the outputs that the machine gives from the donor's class:
which ones, and not only others.

Method: interchange interventions (Geiger, Lu, Icard, Potts, NeurIPS 2021), on whole states or on their part in a subspace. K
words are drawn evenly over the classes; each recipient reads its own random continuation after each donor's state. A swap is
right when every output is as predicted, before the first symbol and after each. Interchange accuracy is the mean of the shares
of right swaps within and across classes. It is held against

- random partitions into classes of the same sizes, and their expectation over all partitions, which is exact: each pair is as
  likely within a class as any other, so chance is computed and not assumed;
- machines one edit away from this one (an edge led elsewhere, another output, the two closest states merged), which must do
  worse.

A whole state leaves nothing of the recipient's past, so what follows such a swap is what the network says after the donor's
word: there the test is of the classes alone. A swap in a subspace asks also whether the class lies in it.

Takes a SymbolReader and a complete Automaton; costs K^2 runs of the continuation's length, and K^2 of that for each null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols._controls import drawn_words, evenly, one_edit_away, says_from, states_after
from analyses.symbols.automaton import Automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader, Word
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = 1 << 22  # held at once
POOL = 16  # words drawn for each that is used, so that rare classes are found
Z = 1.959963984540054  # of a normal at 95 %

Group = tuple[np.ndarray, Tensor]  # rows and their states


@dataclass(frozen=True, eq=False)
class Interchange(Result):
    """Shares of swaps that end as the machine predicts.

    Attributes
    ----------
    sizes : (classes,)
        Words drawn of each state of the minimal machine.
    right : (classes, classes)
        Share of right swaps, by the classes of recipient and donor; NaN without any.
    within, across
        Share of right swaps within a class and between two; NaN without any.
    intervals : (2, 2)
        95 % score intervals (Wilson 1927) of the two, each recipient counted as one trial, for its swaps share a continuation.
    differing
        Share of the across swaps for which the machine predicts other outputs than the recipient's own: the rest is no test.
    chance
        Interchange accuracy expected of random classes of these sizes.
    edits : (machines,)
        Interchange accuracy of the machines one edit away.
    kinds : (machines,)
        "merged", "edge" or "output".
    continuation
        Symbols read after a swap.
    subspace
        Dimension of the part that was exchanged; 0 for whole states.
    least
        What both shares have to reach.
    nulls
        "random partition": interchange accuracy. None where no two classes can be compared.
    checks
        The mean of the random partitions is the chance that was computed, within five standard errors.
    """

    sizes: Int[np.ndarray, " classes"]
    right: Float[np.ndarray, "classes classes"]
    within: float
    across: float
    intervals: Float[np.ndarray, "2 2"]
    differing: float
    chance: float
    edits: Float[np.ndarray, " machines"]
    kinds: tuple[str, ...]
    continuation: int
    subspace: int
    least: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def accuracy(self) -> float:
        """Interchange accuracy, the mean of ``within`` and ``across``; NaN without both."""
        return (self.within + self.across) / 2

    @property
    def edit_p(self) -> float:
        """Rank among the machines one edit away, (1 + those that do as well) / (1 + all): few of them allow no small one."""
        return float((1 + (self.edits >= self.accuracy).sum()) / (1 + len(self.edits)))

    @property
    def confirmed(self) -> bool:
        """Both shares reach ``least``, random partitions are beaten, and no machine one edit away does as well."""
        if not self.nulls or not min(self.within, self.across) >= self.least:
            return False
        above = self.nulls[0].beaten and self.accuracy > self.chance
        return above and bool((self.edits < self.accuracy).all())

    def summary(self) -> str:
        """The shares that are right, what chance and wrong machines reach, and the verdict."""
        classes = len(self.sizes)
        whole = f"in {counted(self.subspace, 'direction')}" if self.subspace else "of whole states"
        if not self.nulls:
            return (
                f"0 swaps can be compared: {counted(int(self.sizes.sum()), 'word')} lead to {int((self.sizes > 0).sum())} of "
                f"{counted(classes, 'state')}, and it takes two, one of them with two words"
            )
        (low, high), (low_across, high_across) = self.intervals
        draws = self.nulls[0].draws
        edits = counted(len(self.edits), "machine")
        text = (
            f"{self.within:.2%} ({low:.1%} to {high:.1%}) of the swaps {whole} within a class change no output, and "
            f"{self.across:.2%} ({low_across:.1%} to {high_across:.1%}) of those across {classes} classes give the outputs "
            f"of the class put in, other than before in {self.differing:.0%}: interchange accuracy {self.accuracy:.4g}, "
            f"against {self.chance:.3g} by chance (random partitions: {draws.max():.3g} at most, p = {self.nulls[0].p:.2g}) "
            f"and {self.edits.max():.4g} for the best of {edits} one edit away (p = {self.edit_p:.2g})"
        )
        if self.confirmed:
            return f"{text}: confirmed, the network has the states of this machine"
        lacking = [
            name
            for name, fails in (
                (f"a share is below {self.least:g}", not min(self.within, self.across) >= self.least),
                ("random partitions do as well", not self.nulls[0].beaten),
                ("a machine one edit away does as well", bool((self.edits >= self.accuracy).any())),
            )
            if fails
        ]
        return f"{text}: not shown to be the network's states ({'; '.join(lacking)})"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of right swaps by the classes of recipient and donor."""
        ax = axes_or_new(ax)
        if self.right.size:
            image = ax.imshow(self.right, cmap="Blues", vmin=0, vmax=1)
            ax.figure.colorbar(image, ax=ax, label="share of swaps as predicted")
        ticks = range(len(self.sizes))
        ax.set_xticks(ticks)
        ax.set_yticks(ticks)
        ax.set(xlabel="class of the state put in", ylabel="class of the state replaced")
        return ax


def interchange(
    reader: SymbolReader,
    machine: Automaton,
    *,
    words: Sequence[Word] | None = None,
    longest: int = 40,
    continuation: int = 20,
    states: int = 128,
    subspace: Any = None,
    least: float = 0.99,
    partitions: int = 199,
    edits: int = 99,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> Interchange:
    """Exchange a network's states within and across the classes of a machine, and compare what it says with what is predicted.

    Parameters
    ----------
    reader, machine
        Over the same symbols and outputs; the machine complete. Its minimal form is tested.
    words
        From which those whose states are exchanged are drawn; random ones of length 0 to ``longest`` when left out. Words from
        which the machine was found show less than others.
    continuation
        Symbols read after a swap, random for each recipient.
    states
        Most words drawn, evenly over the classes.
    subspace : (dim, directions)
        Columns that span the part of the state that is exchanged, of a reader whose states are a map's; the rest stays the
        recipient's. The whole state when left out.
    least
        What both shares have to reach for the machine to be confirmed.
    partitions, edits
        Random partitions, and most machines one edit away.
    generator
        A fixed seed when left out.
    watch
        Wraps the chunks of donors: progress. Stopped early, the donors so far count alone.

    Returns
    -------
    Interchange
        Shares are NaN, and there are no nulls, where no two classes have words, or no class has two.

    Raises
    ------
    InputError
        When symbols or outputs differ, the machine has unknown edges, a subspace comes for a reader without vectors for states
        or does not fit, or a number is too small.
    """
    if (reader.symbols, reader.outputs) != (machine.symbols, machine.outputs):
        raise InputError(
            f"reader and machine share symbols and outputs, but {reader.symbols} and {reader.outputs} came beside "
            f"{machine.symbols} and {machine.outputs}"
        )
    if not machine.complete:
        raise InputError(f"{int((machine.transitions < 0).sum())} edges are unknown: nothing is predicted across them")
    if min(longest, continuation, partitions, states - 1, edits) < 1:
        raise InputError(
            f"longest, continuation, partitions and edits are at least 1 and states 2, but {longest}, {continuation}, "
            f"{partitions}, {edits} and {states} came"
        )
    generator = generator or np.random.default_rng(0)
    smallest = machine.minimal()
    pool = drawn_words(len(machine.symbols), POOL * states, longest, generator) if words is None else list(words)
    chosen = evenly(states_after(smallest, pool), states, generator) if len(pool) else np.zeros(0, dtype=np.int64)
    read = [tuple(pool[number]) for number in chosen]
    own = states_after(smallest, read)
    K = len(read)
    after = generator.integers(len(machine.symbols), size=(K, continuation))
    projector = _projector(reader, subspace)

    groups = _chunks(_states(reader, read), K)
    parts = list(watch(_swapped(reader, groups, after, projector), len(groups)))
    # said[u, v]: the outputs on the way of recipient v from the state of donor u; unchanged: of v from its own
    said = np.full((K, K, continuation + 1), -1)
    for rows, outputs in parts:
        said[rows] = outputs
    done = (said >= 0).all(axis=(1, 2))
    unchanged = said[np.arange(K), np.arange(K)]
    same = (said == unchanged).all(axis=2)
    pairs = done[:, None] & done & ~np.eye(K, dtype=bool)

    predicted = says_from(smallest, after)  # (classes, K, steps)
    as_class = np.stack([(said == ways).all(axis=2) for ways in predicted], axis=2)  # (donor, recipient, class)
    here = np.arange(K)
    right = np.where(own[:, None] == own, same, as_class[here[:, None], here, own[:, None]])
    classes = len(smallest)
    within, across = _shares(own, same, as_class, pairs)
    swapped_away = pairs & (own[:, None] != own)
    moved = (predicted[own] != unchanged).any(axis=2)

    nulls: tuple[Null, ...] = ()
    checks: tuple[Check, ...] = ()
    chance, kinds, wrong = np.nan, (), np.zeros(0)
    if np.isfinite(within + across):
        chance = _chance(own, same, as_class, pairs, classes)
        draws = np.array(
            [np.mean(_shares(generator.permutation(own), same, as_class, pairs)) for _ in range(partitions)]
        )
        nulls = (Null("random partition", "the class does not matter", "word", draws, float((within + across) / 2)),)
        spread = 5 * float(draws.std()) / partitions**0.5 + 1e-12
        checks = (Check("mean of random partitions", chance, float(draws.mean()), spread),)
        kinds, machines = one_edit_away(smallest, edits, generator)
        wrong = np.array([_accuracy(other, read, after, said, same, pairs) for other in machines])
    return Interchange(
        sizes=np.bincount(own, minlength=classes).astype(np.int64),
        right=_by_class(right, pairs, own, classes),
        within=within,
        across=across,
        intervals=np.array([_interval(within, int(done.sum())), _interval(across, int(done.sum()))]),
        differing=float(moved[swapped_away].mean()) if swapped_away.any() else np.nan,
        chance=float(chance),
        edits=wrong,
        kinds=kinds,
        continuation=continuation,
        subspace=0 if subspace is None else int(np.asarray(subspace).shape[1]),
        least=least,
        nulls=nulls,
        checks=checks,
    )


def _projector(reader: SymbolReader, subspace: Any) -> Tensor | None:
    if subspace is None:
        return None
    if reader.dynamics is None:
        raise InputError(f"the states of {reader.name!r} are no vectors of a map: they are exchanged whole")
    spanned = torch.as_tensor(np.asarray(subspace)).to(reader.dynamics.dtype)
    if spanned.ndim != 2 or len(spanned) != reader.dynamics.dim or not spanned.shape[1]:
        raise InputError(f"a subspace is ({reader.dynamics.dim}, directions), but {tuple(spanned.shape)} came")
    basis = torch.linalg.qr(spanned)[0]
    return (basis @ basis.mT).to(reader.dynamics.device)


def _swapped(
    reader: SymbolReader, groups: list[Group], after: np.ndarray, projector: Tensor | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some donors, and the outputs (donors, recipients, steps + 1) on each recipient's way from their states."""
    K, ways = len(after), torch.as_tensor(after)
    if projector is not None:
        order = np.argsort(np.concatenate([rows for rows, _ in groups]))
        recipients = torch.cat([states for _, states in groups])[torch.as_tensor(order)]
    with torch.no_grad():
        for rows, donors in groups:
            now = donors.repeat_interleave(K, 0)
            if projector is not None:
                stay = recipients.repeat(len(donors), 1)
                now = stay + (now - stay) @ projector
            said = [reader.says(now)]
            for symbols in ways.unbind(1):
                now = reader.next(now, symbols.repeat(len(donors)))
                said.append(reader.says(now))
            yield rows, np.stack(said, axis=1).reshape(len(donors), K, -1)


def _states(reader: SymbolReader, words: Sequence[Word]) -> list[Group]:
    """The states after the words; one group where those of all lengths are of one shape."""
    lengths = np.array([len(word) for word in words])
    groups = []
    with torch.no_grad():
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            ids = torch.as_tensor(np.array([words[row] for row in rows], dtype=np.int64).reshape(len(rows), length))
            states = reader.first(len(rows))
            for step in range(length):
                states = reader.next(states, ids[:, step])
            groups.append((rows, states))
    if len({states.shape[1:] for _, states in groups}) != 1:
        return groups
    return [(np.concatenate([rows for rows, _ in groups]), torch.cat([states for _, states in groups]))]


def _chunks(groups: list[Group], runs: int) -> list[Group]:
    """The groups in parts of which each state can be run on so many ways at once."""
    parts = []
    for rows, states in groups:
        width = max(1, NUMBERS // max(1, runs * int(np.prod(states.shape[1:]))))
        parts += [(rows[first : first + width], states[first : first + width]) for first in range(0, len(rows), width)]
    return parts


def _shares(own: np.ndarray, same: np.ndarray, as_class: np.ndarray, pairs: np.ndarray) -> tuple[float, float]:
    """Shares of right swaps within and across these classes (K,); NaN without any."""
    inside = own[:, None] == own
    here = np.arange(len(own))
    predicted = as_class[here[:, None], here, own[:, None]]
    within, across = same[pairs & inside], predicted[pairs & ~inside]
    return (float(within.mean()) if len(within) else np.nan, float(across.mean()) if len(across) else np.nan)


def _chance(own: np.ndarray, same: np.ndarray, as_class: np.ndarray, pairs: np.ndarray, classes: int) -> float:
    """Expected accuracy over all assignments of these classes to the words; a donor across is of class c as n (K - n)."""
    sizes = np.bincount(own, minlength=classes)
    weights = sizes * (len(own) - sizes)
    across = as_class[pairs].mean(axis=0) @ weights / weights.sum()
    return float((same[pairs].mean() + across) / 2)


def _accuracy(
    machine: Automaton, words: list[Word], after: np.ndarray, said: np.ndarray, same: np.ndarray, pairs: np.ndarray
) -> float:
    """Interchange accuracy of another machine on the same swaps; of one class, the share of them that change nothing."""
    own = states_after(machine, words)
    inside = own[:, None] == own
    predicted = (said == says_from(machine, after)[own]).all(axis=2)
    shares = [part.mean() for part in (same[pairs & inside], predicted[pairs & ~inside]) if len(part)]
    return float(np.mean(shares)) if shares else np.nan


def _interval(share: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval."""
    if not trials or not np.isfinite(share):
        return np.nan, np.nan
    middle, half = share + Z**2 / (2 * trials), Z * np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return float(middle - half) / (1 + Z**2 / trials), min(1.0, float(middle + half) / (1 + Z**2 / trials))


def _by_class(right: np.ndarray, pairs: np.ndarray, own: np.ndarray, classes: int) -> np.ndarray:
    """(classes of recipients, classes of donors) share of right swaps."""
    member = np.eye(classes)[own]
    counts = member.T @ pairs.T @ member
    sums = member.T @ (pairs & right).T @ member
    return np.divide(sums, counts, out=np.full((classes, classes), np.nan), where=counts > 0)
