"""The plan of a network whose inputs are symbols: which automaton it is, learned, drawn and judged."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from analyses.symbols._teacher import fitting
from analyses.symbols.active_learning import learn_automaton
from analyses.symbols.automaton import Automaton, automaton
from analyses.symbols.machine_proof import prove_machine
from analyses.symbols.machine_verdict import judge
from analyses.symbols.state_merging import merge_states
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader, symbol_reader
from interp.journal import Journal

MOST_WORDS = 100  # of the inputs that are merged beside all short words
FAR = (1000, 10_000)  # symbols of words far beyond the inputs
WIDEST_PROOF = 128  # units
LEARNED_LENGTH = 200  # symbols, of longer inputs: random words of the learner are no longer


def symbols(journal: Journal, reader: SymbolReader, words: np.ndarray, *, seed: int = 0, about: str = "") -> None:
    """States after words merged at every threshold; the automaton learned up to the length of the words; its verdict beyond,
    and where nothing refutes it, a proof or none.

    Parameters
    ----------
    words : (runs, steps)
        Symbols that the network was given: their prefixes are merged beside all short words, and their length is the one up to
        which the automaton is learned.
    seed
        Of all draws.
    about
        Put before each title, when a page holds several networks.
    """
    length = int(np.clip(words.shape[1], 1, LEARNED_LENGTH))
    merged = journal.note(f"{about}states after words", merge_states, reader, _merged_words(reader, words))
    machine = merged.machine.minimal() if merged.found else None
    if find_spec("aalpy") is not None:
        learned = journal.note(
            f"{about}learning", learn_automaton, reader, length=length, longest=length,
            generator=np.random.default_rng(seed),
        )  # fmt: skip
        machine = learned.machine if learned.found else machine
    if machine is None:
        return
    journal.note(f"{about}automaton", automaton, **_arrays(machine))
    far = sorted({length, *(beyond for beyond in FAR if beyond > length)})
    verdict = journal.note(
        f"{about}verdict", judge, machine, reader, lengths=far, generator=np.random.default_rng(seed)
    )
    network = reader.dynamics
    if network is not None and network.dim <= WIDEST_PROOF and str(network.device) == "cpu" and not verdict.refuted:
        journal.note(f"{about}proof for all words", prove_machine, machine, reader)


def reader_for(
    dynamics: Dynamics, inputs: np.ndarray | None, start: np.ndarray | None, *, wanted: bool | None = None
) -> tuple[SymbolReader, np.ndarray] | None:
    """The network as a reader and the inputs as words, when inputs are one-hot and it has a readout; else None.

    Raises InputError, saying what is missing, when symbols are ``wanted``.
    """
    one_hot = inputs is not None and _one_hot(inputs)
    if wanted is False or (wanted is None and not (one_hot and dynamics.readout is not None)):
        return None
    if inputs is None or not one_hot:
        came = "none came" if inputs is None else f"{_mixed(inputs)} of {inputs[..., 0].size} do not"
        raise InputError(f"symbols are inputs with a single 1 a step and zeros beside it, but {came}")
    if dynamics.readout is None:
        raise InputError(
            f"{dynamics.name} has no readout to say anything with: save the network and its linear head as one module"
        )
    return symbol_reader(dynamics, start=start), inputs.argmax(axis=2)


def reader_note(reader: SymbolReader) -> str:
    """What was taken for granted."""
    single = "whether its only readout is above 0" if reader.dynamics is not None and _width(reader) == 1 else ""
    says = single or "the readout that is largest"
    return f"Inputs are one-hot, so they are read as {len(reader.symbols)} symbols; after each the network says {says}."


def _width(reader: SymbolReader) -> int:
    return int(reader.scores(reader.first(1)).shape[1])


def _mixed(inputs: np.ndarray) -> int:
    return int((~(((inputs == 0) | (inputs == 1)).all(axis=2) & (inputs.sum(axis=2) == 1))).sum())


def _one_hot(inputs: np.ndarray) -> bool:
    return inputs.shape[2] > 1 and _mixed(inputs) == 0


def _merged_words(reader: SymbolReader, words: np.ndarray) -> list[tuple[int, ...]]:
    alphabet = len(reader.symbols)
    longest = fitting(alphabet, 2048)
    every = np.stack(np.meshgrid(*[np.arange(alphabet)] * longest, indexing="ij"), axis=-1).reshape(-1, longest)
    return [tuple(word) for word in (*every.tolist(), *words[:MOST_WORDS].tolist())]


def _arrays(machine: Automaton) -> dict[str, object]:
    return {
        "transitions": machine.transitions,
        "labels": machine.labels,
        "symbols": machine.symbols,
        "outputs": machine.outputs,
    }
