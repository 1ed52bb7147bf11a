"""SymbolReader: anything that reads symbols, as a first state, a next state and an output.

One interface for a recurrent or state-space map, whose states are vectors, and for a transformer, whose state is all it has
read so far. Everything that asks which automaton a network is (``analyses/symbols``) takes one, and asks nothing else.

Words are whole numbers, one a symbol. Reading costs one step of the network a symbol; a transformer, which keeps nothing, reads
every prefix anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks.dynamics import Dynamics, as_drive, as_states, digest, in_turn
from hooks.errors import DrivenError, InputError
from hooks.surprisal import next_scores
from hooks.trajectory import Trajectory

Word = Sequence[int]


@dataclass(frozen=True, eq=False)
class SymbolReader:
    """A network that reads symbols and says something after each.

    Parameters
    ----------
    symbols, outputs
        Names of what is read and of what is said.
    first
        count -> that many copies of the state before anything is read.
    next
        (states, (batch,) symbols) -> the states after reading one symbol each.
    scores
        states -> (batch, outputs), or (batch, 1) when two outputs are told apart by a threshold.
    vectors
        states -> (batch, dim) float: where states are compared.
    threshold
        Above which a single score says ``outputs[1]``.
    dynamics, drives
        The map and the (symbols, inputs) drive of each symbol, when that is what it is; states are then its states.
    name, fingerprint
        As of a Dynamics.
    """

    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    first: Callable[[int], Tensor]
    next: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor], Tensor]
    vectors: Callable[[Tensor], Tensor]
    threshold: float = 0.0
    dynamics: Dynamics | None = None
    drives: Tensor | None = None
    name: str = "reader"
    fingerprint: str = ""

    def says(self, states: Tensor) -> Int[np.ndarray, " batch"]:
        """The output in each state: the highest score, or whether the only one is above the threshold."""
        with torch.no_grad():
            scores = self.scores(states)
        said = (scores[:, 0] > self.threshold).long() if scores.shape[1] == 1 else scores.argmax(dim=1)
        return said.cpu().numpy().astype(np.int64)

    def probabilities(self, states: Tensor) -> Float[np.ndarray, "batch outputs"]:
        """Of each output: scores through a softmax, or a single one, less the threshold, through a sigmoid."""
        with torch.no_grad():
            scores = self.scores(states).double()
        if scores.shape[1] == 1:
            over = torch.sigmoid(scores - self.threshold)
            return torch.cat([1 - over, over], dim=1).cpu().numpy()
        return scores.softmax(dim=1).cpu().numpy()

    def after(self, words: Sequence[Word]) -> tuple[Int[np.ndarray, " words"], Float[np.ndarray, "words dim"]]:
        """What is said after each word, and the state's vector there. Words may differ in length; each length is one batch."""
        words = [self._checked(word) for word in words]
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        said = np.zeros(len(words), dtype=np.int64)
        vectors: np.ndarray | None = None
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            ids = torch.as_tensor(np.array([words[row] for row in rows], dtype=np.int64).reshape(len(rows), length))
            with torch.no_grad():
                states = self.first(len(rows))
                for step in range(length):
                    states = self.next(states, ids[:, step])
                at = self.vectors(states).double().cpu().numpy()
            said[rows] = self.says(states)
            vectors = np.zeros((len(words), at.shape[1])) if vectors is None else vectors
            vectors[rows] = at
        return said, np.zeros((0, 0)) if vectors is None else vectors

    def read(self, words: Any) -> Trajectory:
        """(runs, steps) words, all of one length -> states (runs, steps + 1, dim), the first before any symbol.

        Labels: "output" after each step, and "symbol", the one read next; -1 after the last. A map's drives are recorded.
        """
        ids = torch.as_tensor(np.asarray(words))
        if ids.ndim != 2 or ids.is_floating_point():
            raise InputError(f"words are (runs, steps) whole numbers, but {tuple(ids.shape)} of {ids.dtype} came")
        for word in ids.tolist():
            self._checked(word)
        ids = ids.long()
        vectors, said = [], []
        with torch.no_grad():
            states = self.first(len(ids))
            for step in range(ids.shape[1] + 1):
                states = states if step == 0 else self.next(states, ids[:, step - 1])
                vectors.append(self.vectors(states).double().cpu().numpy())
                said.append(self.says(states))
        return Trajectory(
            np.stack(vectors, axis=1),
            "token",
            drives=None if self.drives is None else self.drives.double().cpu().numpy()[ids.numpy()],
            labels={
                "output": np.stack(said, axis=1),
                "symbol": np.concatenate([ids.numpy(), np.full((len(ids), 1), -1)], axis=1),
            },
            source=self.name,
        )

    def held(self, word: Word) -> Dynamics:
        """The autonomous map of reading this word once: its cycles are what the network does under the word for ever.

        Raises InputError for an empty word, or a reader that is no map with a drive for each symbol.
        """
        read = self._checked(word)
        if self.dynamics is None or self.drives is None or not read:
            raise InputError(
                f"{self.name!r} is held under a word of one symbol at least if it is a map, but {read} came"
            )
        drives = self.drives
        if len(read) == 1:
            return self.dynamics.hold(drives[read[0]])
        after = in_turn(self.dynamics, lambda _: (drives[symbol] for symbol in read))
        print_of = f"{self.fingerprint}.{digest(*(drives[symbol] for symbol in read))[:8]}" if self.fingerprint else ""
        return replace(after, driven=False, inputs=0, box=None, fingerprint=print_of)

    def says_along(self, words: Int[np.ndarray, "runs steps"]) -> Int[np.ndarray, "runs after"]:
        """(runs, steps) words -> (runs, steps + 1) outputs, before the first symbol and after each; no state is kept."""
        ids, said = torch.as_tensor(words), []
        with torch.no_grad():
            states = self.first(len(ids))
            said.append(self.says(states))
            for step in range(ids.shape[1]):
                states = self.next(states, ids[:, step])
                said.append(self.says(states))
        return np.stack(said, axis=1)

    def spelled(self, word: Word) -> str:
        """A word by its symbols' names; ε for the empty one."""
        between = "" if all(len(symbol) == 1 for symbol in self.symbols) else " "
        return between.join(self.symbols[symbol] for symbol in word) or "ε"

    def _checked(self, word: Word) -> list[int]:
        read = [int(symbol) for symbol in word]
        if any(not 0 <= symbol < len(self.symbols) for symbol in read):
            raise InputError(f"symbols are 0 to {len(self.symbols) - 1}, but the word {read[:20]} came")
        return read


def symbol_reader(
    dynamics: Dynamics,
    *,
    drives: Any = None,
    start: Any = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    threshold: float = 0.0,
    symbols: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> SymbolReader:
    """A driven map as a reader: each symbol is one drive.

    Parameters
    ----------
    dynamics
        Driven; a recurrent or state-space network.
    drives : (symbols, inputs)
        The drive of each symbol; one-hot when left out.
    start : (dim,)
        The state before anything is read; zero when left out.
    readout
        (batch, dim) -> (batch, outputs); the network's own when left out.
    threshold
        Of a readout of one value: above it, the second output is said.
    symbols, outputs
        Names; 0, 1, ... when left out.

    Raises
    ------
    DrivenError
        When the map takes no drive vector.
    InputError
        When it has no readout, or a name, drive or start does not fit.
    """
    if not dynamics.driven or not dynamics.inputs:
        raise DrivenError(f"a symbol is a drive, but {dynamics.name!r} takes no drive vector")
    scores = readout or dynamics.readout
    if scores is None:
        raise InputError(f"{dynamics.name!r} has no readout to say anything with: pass readout=")
    driving = as_drive(dynamics, torch.eye(dynamics.inputs) if drives is None else drives)
    if driving.ndim != 2 or not len(driving):
        raise InputError(f"drives are (symbols, {dynamics.inputs}), but shape {tuple(driving.shape)} came")
    begin = as_states(dynamics, torch.zeros(dynamics.dim) if start is None else start)
    if len(begin) != 1:
        raise InputError(f"reading starts in one state, but {len(begin)} came")
    with torch.no_grad():
        width = scores(begin).shape[-1]
    return SymbolReader(
        symbols=_named(symbols, len(driving), "symbols"),
        outputs=_named(outputs, max(2, width), "outputs"),
        first=lambda count: begin.expand(count, -1),
        next=lambda states, ids: dynamics(states, driving[ids.to(driving.device)]),
        scores=scores,
        vectors=lambda states: states,
        threshold=threshold,
        dynamics=dynamics,
        drives=driving,
        name=dynamics.name,
        fingerprint=dynamics.fingerprint,
    )


def prefix_reader(
    model: Callable[[Tensor], Any],
    *,
    tokens: Sequence[int],
    begin: Sequence[int],
    outputs: Sequence[int] | None = None,
    stream: Callable[[Tensor], Tensor] | None = None,
    symbols: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    name: str = "model",
) -> SymbolReader:
    """A causal model of token ids as a reader, whose state is everything it has read.

    Parameters
    ----------
    model
        Tokens (texts, steps) to scores (texts, steps, outputs), alone or as ``.logits``; a module in ``eval`` mode.
    tokens
        The id that each symbol is written as.
    begin
        Ids that stand before every word, one at least.
    outputs
        Columns of the scores that are outputs, all when left out.
    stream
        Tokens to (texts, dim), the vectors that states are compared by, such as the last position's residual stream; the
        scores when left out.
    symbols, output_names, name
        Names; 0, 1, ... when left out.

    Raises
    ------
    InputError
        For a module in training mode, no token before the words, or names that do not fit.
    """
    if isinstance(model, nn.Module) and model.training:
        raise InputError("the model is in training mode, where dropout makes scores random: call model.eval() first")
    if not len(begin):
        raise InputError("a causal model says nothing before its first token: give one as begin")
    written, prefix = torch.as_tensor(list(tokens)), torch.as_tensor(list(begin))
    columns = None if outputs is None else torch.as_tensor(list(outputs))

    def scores(states: Tensor) -> Tensor:
        every = next_scores(model, states)
        if every.ndim != 3:
            raise InputError("a model read symbol by symbol scores outputs: (texts, steps, outputs)")
        return every[:, -1] if columns is None else every[:, -1, columns]

    with torch.no_grad():
        width = scores(prefix[None]).shape[-1]
    return SymbolReader(
        symbols=_named(symbols, len(written), "symbols"),
        outputs=_named(output_names, max(2, width), "outputs"),
        first=lambda count: prefix.expand(count, -1),
        next=lambda states, ids: torch.cat([states, written[ids][:, None]], dim=1),
        scores=scores,
        vectors=stream or scores,
        name=name,
    )


def _named(names: Sequence[str] | None, count: int, what: str) -> tuple[str, ...]:
    given = tuple(str(number) for number in range(count)) if names is None else tuple(names)
    if len(given) != count or len(set(given)) != count:
        raise InputError(f"{count} {what} have {count} different names, but {given} came")
    return given
