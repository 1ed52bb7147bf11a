"""Networks whose inputs are symbols: parity in two ReLUs is found, drawn and judged; other inputs are left alone or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from analyses.symbols.automaton import automaton
from analyses.symbols.state_merging import merge_states
from hooks.errors import InputError
from hooks.families import recurrent
from hooks.symbol_reader import symbol_reader
from interp.findings import account
from interp.journal import Journal, recorded
from interp.plans import report
from interp.symbol_plan import reader_for, reader_note, symbols

pytest.importorskip("aalpy")
PARITY = automaton([[0, 1], [1, 0]], [0, 1])
WORDS = np.random.default_rng(0).integers(0, 2, (6, 12))


class Parity(nn.Module):
    """p' = |p - x| in two ReLUs: a' = relu(a + b - x), b' = relu(x - a - b), p = a + b; says 1 - p and p."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(2, 2, nonlinearity="relu", bias=False, batch_first=True)
        self.head = nn.Linear(2, 2)
        weights = {
            "rnn.weight_hh_l0": [[1.0, 1.0], [-1.0, -1.0]],
            "rnn.weight_ih_l0": [[0.0, -1.0], [0.0, 1.0]],
            "head.weight": [[-1.0, -1.0], [1.0, 1.0]],
            "head.bias": [1.0, 0.0],
        }
        self.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})

    def forward(self, inputs, state=None):
        states, last = self.rnn(inputs, state)
        return self.head(states), last


def parity_map():
    network = Parity()
    return recurrent(network.rnn, readout=network.head)


def test_parity_is_found_and_judged_and_the_account_says_so():
    read = reader_for(parity_map(), np.eye(2)[WORDS], None)
    assert read is not None and np.array_equal(read[1], WORDS)
    journal = Journal(fingerprint="parity")
    symbols(journal, *read)
    results = journal.results
    assert list(results) == ["states after words", "learning", "automaton", "verdict", "proof for all words"]
    assert results["automaton"].isomorphic_to(PARITY) and results["states after words"].found
    assert results["verdict"].stands and results["verdict"].lengths.tolist() == [12, 1000, 10_000]
    # Its states are exact but do not attract: an error of p stays, so no cell is mapped into itself with room to spare.
    assert not results["proof for all words"].proved
    said = "\n".join(account(results))
    assert "Automaton: 2 states after" in said and "Verdict: network and machine of 2 states agree" in said
    assert "For all words: not proved" in said


def test_a_page_holds_the_automaton_of_one_hot_inputs(tmp_path):
    page = report(Parity(), inputs=np.eye(2)[WORDS], out=tmp_path, budget=1)
    titles = [finding.title for finding in page.findings]
    assert "automaton" in titles and "verdict" in titles
    assert "read as 2 symbols" in page.provenance["notes"]
    assert "Automaton: 2 states" in (tmp_path / "report.html").read_text()


def test_a_call_tells_readers_of_one_network_by_start_and_drives():
    network = parity_map()
    readers = [
        symbol_reader(network),
        symbol_reader(network, start=[1.0, 0.0]),
        symbol_reader(network, drives=[[0.0, 1.0]] * 2),
    ]
    calls = [recorded(merge_states, (reader, 3), {}) for reader in readers]
    assert len(set(calls)) == 3 and calls[0] == recorded(merge_states, (symbol_reader(network), 3), {})


def test_other_inputs_are_no_symbols():
    network = parity_map()
    assert reader_for(network, np.zeros((1, 4, 2)), None) is None
    assert reader_for(network, 2 * np.eye(2)[WORDS], None) is None
    assert reader_for(network, None, None) is None
    assert reader_for(network, np.eye(2)[WORDS], None, wanted=False) is None
    assert reader_for(recurrent(Parity().rnn), np.eye(2)[WORDS], None) is None


def test_what_is_missing_is_said_when_symbols_are_wanted():
    network = parity_map()
    with pytest.raises(InputError, match="none came"):
        reader_for(network, None, None, wanted=True)
    inputs = np.eye(2)[WORDS]
    inputs[0, 0] = 0.5
    with pytest.raises(InputError, match="1 of 72 do not"):
        reader_for(network, inputs, None, wanted=True)
    with pytest.raises(InputError, match="save the network and its linear head as one module"):
        reader_for(recurrent(Parity().rnn), np.eye(2)[WORDS], None, wanted=True)


def test_a_single_readout_is_said_to_be_compared_with_zero():
    single = recurrent(nn.RNN(3, 2), readout=nn.Linear(2, 1))
    read = reader_for(single, np.eye(3)[WORDS], np.zeros(2))
    assert read is not None and "above 0" in reader_note(read[0]) and "3 symbols" in reader_note(read[0])
