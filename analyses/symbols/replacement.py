"""How much of what a network can do is left when its account takes its place?

An account reads the same words in the network's stead: a machine by its outputs, a surrogate or affine pieces by running freely
from their own first state. Of each the share recovered is (account - chance) / (network - chance), where performance is the
share of right outputs at the places asked, and chance that of the best constant output. A share above 1 is an account that does
the task better than the network does; how often it says what the network says, right or wrong, is its fidelity.

A machine is held against random partitions of its own visits into classes of the same sizes, each read on by the chances that a
class and a symbol lead to each class (of a deterministic partition that is its machine), and against machines one edit away.
Other accounts are held against those that the caller makes from random partitions. Intervals are percentiles over resampled
words.

Takes a SymbolReader, words, what is right, and accounts; costs one reading of the words for each account, and one for each
control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols._controls import one_edit_away
from analyses.symbols.automaton import Automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Account = Automaton | SymbolReader


@dataclass(frozen=True, eq=False)
class Replacement(Result):
    """What each account recovers.

    Attributes
    ----------
    names : (accounts,)
    performance : (accounts,)
        Share of right outputs.
    shares : (accounts,)
        (performance - chance) / (network - chance); NaN where the network does no better than chance.
    intervals : (accounts, 2)
        95 % of the shares over resampled words.
    fidelity : (accounts,)
        Share of outputs, at all places, that are the network's.
    network, chance
        Share of right outputs of the network, and of the most frequent right output.
    network_interval : (2,)
        95 % of network - chance over resampled words.
    edits : (accounts, machines)
        Shares of the machines one edit away; NaN for other accounts, and where there are fewer.
    words, asked
        Words read, and places in them that are asked.
    nulls
        "random partition" for each account that has any.
    checks
        None of its own.
    """

    names: tuple[str, ...]
    performance: Float[np.ndarray, " accounts"]
    shares: Float[np.ndarray, " accounts"]
    intervals: Float[np.ndarray, "accounts 2"]
    fidelity: Float[np.ndarray, " accounts"]
    network: float
    chance: float
    network_interval: Float[np.ndarray, "2"]
    edits: Float[np.ndarray, "accounts machines"]
    words: int
    asked: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...] = ()

    @property
    def edit_p(self) -> np.ndarray:
        """(accounts,) rank of each machine among those one edit away, (1 + those that recover as much) / (1 + all)."""
        known = np.isfinite(self.edits)
        return (1 + (known & (self.edits >= self.shares[:, None])).sum(axis=1)) / (1 + known.sum(axis=1))

    def summary(self) -> str:
        """What each account recovers, its interval, and what its controls do."""
        places = f"{counted(self.asked, 'place')} of {counted(self.words, 'word')}"
        head = (
            f"the network is right at {self.network:.2%} of {places}, where a constant output is at {self.chance:.2%}"
        )
        if not np.isfinite(self.shares).any():
            return f"0 of {counted(len(self.names), 'account')} can be judged: {head}, so there is nothing to recover"
        said = []
        for number, name in enumerate(self.names):
            low, high = self.intervals[number]
            text = f"{name} recovers {self.shares[number]:.1%} ({low:.1%} to {high:.1%}; "
            text += f"says what it says at {self.fidelity[number]:.2%}"
            for null in self.nulls:
                if null.statistic == name:
                    above = null.beaten and null.observed > np.median(null.draws)
                    text += f"; random partitions {null.draws.max():.1%} at most, p = {null.p:.2g}"
                    text += "" if above else ": its classes are not shown to matter"
            wrong = self.edits[number][np.isfinite(self.edits[number])]
            if len(wrong):
                text += f"; one edit away {wrong.max():.1%} at most, p = {self.edit_p[number]:.2g}"
            said.append(f"{text})")
        return f"{'; '.join(said)}: {head}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares with their intervals, controls as dots."""
        ax = axes_or_new(ax)
        here = np.arange(len(self.names))
        if np.isfinite(self.shares).any():
            off = np.abs(self.intervals - self.shares[:, None]).T
            ax.errorbar(here, self.shares, yerr=off, fmt="o", color="C0", label="account")
            for name, draws in [(null.statistic, null.draws) for null in self.nulls]:
                ax.plot([self.names.index(name)] * len(draws), draws, ".", color="0.6", ms=3)
            ax.plot(np.repeat(here, self.edits.shape[1]), self.edits.ravel(), "x", color="C1", ms=3)
        ax.axhline(1, color="0.8", lw=1)
        ax.axhline(0, color="0.8", lw=1)
        ax.set_xticks(here, self.names, fontsize=8)
        ax.set(ylabel="share of performance recovered", xlim=(-0.5, max(0.5, len(self.names) - 0.5)))
        return ax


def replacement(
    reader: SymbolReader,
    words: Any,
    targets: Any,
    accounts: Mapping[str, Account],
    *,
    partitioned: Mapping[str, Sequence[Account]] | None = None,
    partitions: int = 199,
    edits: int = 99,
    resamples: int = 999,
    generator: np.random.Generator | None = None,
) -> Replacement:
    """The share of a network's performance that each account of it recovers.

    Parameters
    ----------
    reader
        The network.
    words : (runs, steps) of whole numbers
        Read by the network and by the accounts; not those that the accounts were made from, or what they recover is too high.
    targets : (runs, steps + 1) of whole numbers
        The right output before the first symbol and after each; -1 where none is asked.
    accounts
        Name -> Automaton or SymbolReader (of an AL-RNN, of ``affine_pieces``) over the same symbols and outputs.
    partitioned
        Name -> accounts of the same making from random partitions of equal sizes, 19 at least to tell anything. Of a machine
        they are made here.
    partitions, edits
        Of each machine: random partitions, and most machines one edit away of its minimal form.
    resamples
        Of the words, for the intervals.
    generator
        A fixed seed when left out.

    Returns
    -------
    Replacement
        Where an account knows no edge it is wrong.

    Raises
    ------
    InputError
        When words or targets do not fit, no place is asked, there is no account, or symbols or outputs differ.
    """
    ids, right = np.asarray(words), np.asarray(targets)
    if ids.ndim != 2 or not ids.size or right.shape != (len(ids), ids.shape[1] + 1) or right.dtype.kind not in "iu":
        raise InputError(
            f"words (runs, steps) have targets (runs, steps + 1) of whole numbers, but {ids.shape} and {right.dtype} "
            f"{right.shape} came"
        )
    if right.max() >= len(reader.outputs) or not (right >= 0).any():
        raise InputError(
            f"targets are outputs 0 to {len(reader.outputs) - 1}, or -1 where none is asked, and one is asked at least"
        )
    names, controls = tuple(accounts), dict(partitioned or {})
    if not names or set(controls) - set(names):
        raise InputError(
            f"one account at least is judged, and controls are of accounts, but {names} and {tuple(controls)} came"
        )
    for name, account in accounts.items():
        if (account.symbols, account.outputs) != (reader.symbols, reader.outputs):
            raise InputError(
                f"{name!r} reads {account.symbols} and says {account.outputs}, the network another language"
            )
    generator = generator or np.random.default_rng(0)
    said = _said(reader, ids)
    spoken = np.stack([_said(account, ids) for account in accounts.values()])
    asked = right >= 0

    def score(outputs: np.ndarray) -> np.ndarray:
        """(..., runs) right outputs of each word."""
        return ((outputs == right) & asked).sum(axis=-1)

    wanted = np.stack([(right == output).sum(axis=1) for output in range(len(reader.outputs))])
    rows = np.concatenate([asked.sum(axis=1)[None], score(said)[None], wanted, score(spoken)]).astype(np.float64)
    gained, network, chance, performance = _gains(rows.sum(axis=1)[:, None], len(wanted))
    weights = generator.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=resamples)
    drawn, drawn_network, drawn_chance, _ = _gains(rows @ weights.T, len(wanted))
    better = bool(network[0] > chance[0])

    def share(outputs: np.ndarray) -> float:
        return float((score(outputs).sum() / asked.sum() - chance[0]) / (network[0] - chance[0]))

    nulls: list[Null] = []
    wrong: list[list[float]] = [[] for _ in names]
    for number, (name, account) in enumerate(accounts.items() if better else ()):
        others = [_said(other, ids) for other in controls.get(name, ())]
        if isinstance(account, Automaton):
            wrong[number] = [share(_said(other, ids)) for other in _edited(account, edits, generator)]
            others += _partitioned(account, ids, said, partitions, generator)
        if others:
            draws = np.array([share(outputs) for outputs in others])
            nulls.append(
                Null("random partition", "the class does not matter", "word", draws, float(gained[number, 0]), name)
            )
    most = max(map(len, wrong), default=0)
    return Replacement(
        names=names,
        performance=performance[:, 0],
        shares=gained[:, 0] if better else np.full(len(names), np.nan),
        intervals=_middle(drawn) if better else np.full((len(names), 2), np.nan),
        fidelity=(spoken == said).mean(axis=(1, 2)),
        network=float(network[0]),
        chance=float(chance[0]),
        network_interval=_middle((drawn_network - drawn_chance)[None])[0],
        edits=np.array([row + [np.nan] * (most - len(row)) for row in wrong]).reshape(len(names), most),
        words=len(ids),
        asked=int(asked.sum()),
        nulls=tuple(nulls),
    )


def _said(account: Account, words: np.ndarray) -> np.ndarray:
    """(runs, steps + 1) outputs."""
    return account.says(words) if isinstance(account, Automaton) else np.asarray(account.read(words).labels["output"])


def _gains(totals: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares (accounts, draws), network and chance (draws,), performance (accounts, draws), of rows: asked, network, targets,
    accounts."""
    asked, network, wanted, accounts = totals[0], totals[1], totals[2 : 2 + outputs], totals[2 + outputs :]
    with np.errstate(invalid="ignore", divide="ignore"):
        chance, performance = wanted.max(axis=0) / asked, accounts / asked
        return (performance - chance) / (network / asked - chance), network / asked, chance, performance


def _middle(draws: np.ndarray) -> np.ndarray:
    """(rows, 2): where the middle 95 % of the finite draws lie."""
    kept = np.where(np.isfinite(draws), draws, np.nan)
    return np.nanquantile(kept, [0.025, 0.975], axis=1).T


def _edited(machine: Automaton, most: int, generator: np.random.Generator) -> list[Automaton]:
    return one_edit_away(machine.minimal(), most, generator)[1] if machine.complete else []


def _partitioned(
    machine: Automaton, words: np.ndarray, said: np.ndarray, count: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """What random partitions of the visits say, each class with its number of them."""
    visits = machine.states(words)
    if not machine.complete:
        return []
    return [
        _believed(generator.permutation(visits.ravel()).reshape(visits.shape), words, said, machine)
        for _ in range(count)
    ]


def _believed(visits: np.ndarray, words: np.ndarray, said: np.ndarray, machine: Automaton) -> np.ndarray:
    """(runs, steps + 1): the likeliest output, when the class is known only by where a class and a symbol lead how often."""
    states = len(machine)
    leads = np.zeros((len(machine.symbols), states, states))
    np.add.at(leads, (words, visits[:, :-1], visits[:, 1:]), 1.0)
    says = np.zeros((states, len(machine.outputs)))
    np.add.at(says, (visits, said), 1.0)
    leads, says = (counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1.0) for counts in (leads, says))
    belief = np.tile(np.bincount(visits[:, 0], minlength=states) / len(visits), (len(words), 1))
    scores = [belief @ says]
    for symbols in words.T:
        belief = (belief[:, None] @ leads[symbols])[:, 0]
        scores.append(belief @ says)
    return np.stack(scores, axis=1).argmax(axis=2)
