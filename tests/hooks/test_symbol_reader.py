"""Readers of known maps and of small models: what is said is what the map or the model itself gives."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from analyses.symbols.active_learning import learn_automaton
from analyses.symbols.automaton import automaton
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families import embeddings, state_space_model
from hooks.symbol_reader import prefix_reader, symbol_reader
from tests.tiny import tiny


def turning(classes: int = 3) -> Dynamics:
    """Symbol s turns a point on the circle by s / classes of a turn, exactly as addition modulo ``classes`` does."""
    angle = 2 * torch.pi / classes * torch.arange(classes, dtype=torch.float64)
    turns = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
    corners = torch.stack([angle.cos(), angle.sin()])
    return Dynamics(
        lambda z, drive: ((drive @ turns.reshape(classes, 4)).reshape(-1, 2, 2) @ z[:, :, None])[:, :, 0],
        dim=2, driven=True, inputs=classes, readout=lambda z: z @ corners, name="turning",
    )  # fmt: skip


def counting(tokens: torch.Tensor) -> torch.Tensor:
    """A causal model: the score of n is 1 where n is the sum so far modulo 3."""
    return torch.nn.functional.one_hot(tokens.cumsum(1) % 3, 3).double()


def test_a_map_reads_words_of_any_length_and_says_their_sum():
    reader = symbol_reader(turning(), start=[1.0, 0.0])
    words = [(), (1,), (2, 2), (1, 1, 1, 2), (2,)]
    said, vectors = reader.after(words)
    assert said.tolist() == [0, 1, 1, 2, 2]
    assert np.allclose(vectors[0], [1, 0]) and vectors.shape == (5, 2)
    assert reader.spelled((1, 2)) == "12" and reader.spelled(()) == "ε"


def test_what_is_read_replays_as_the_map_itself():
    dynamics = turning()
    reader = symbol_reader(dynamics, start=[1.0, 0.0])
    words = np.array([[0, 1, 2, 1], [2, 2, 2, 2]])
    read = reader.read(words)
    again = rollout(dynamics, [[1.0, 0.0]] * 2, drives=np.eye(3)[words])
    assert np.array_equal(read.states, again.states) and np.array_equal(read.drives, again.drives)
    assert read.labels["output"].tolist() == [[0, 0, 1, 0, 1], [0, 2, 1, 0, 2]]
    assert read.labels["symbol"].tolist() == [[0, 1, 2, 1, -1], [2, 2, 2, 2, -1]]


def test_a_causal_model_is_read_through_its_prefixes():
    reader = prefix_reader(counting, tokens=(0, 1, 2), begin=(3,))
    assert reader.after([(), (1,), (1, 2), (2, 2)])[0].tolist() == [0, 1, 0, 1]
    assert reader.read([[1, 1, 1]]).labels["output"].tolist() == [[0, 1, 2, 0]]
    assert reader.probabilities(reader.first(1))[0] == pytest.approx(np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum())


def test_one_score_is_told_by_its_threshold():
    dynamics = Dynamics(lambda z, drive: z + drive, dim=1, driven=True, inputs=1, readout=lambda z: z, name="sum")
    reader = symbol_reader(dynamics, drives=[[1.0], [-1.0]], threshold=1.5, outputs=("low", "high"))
    assert reader.after([(), (0,), (0, 0), (0, 0, 1)])[0].tolist() == [0, 0, 1, 0]
    assert reader.probabilities(torch.tensor([[1.5]], dtype=torch.float64)).tolist() == [[0.5, 0.5]]


def test_what_cannot_be_read_is_refused():
    reader = symbol_reader(turning(), start=[1.0, 0.0])
    with pytest.raises(InputError, match="0 to 2"):
        reader.after([(3,)])
    with pytest.raises(InputError, match="whole numbers"):
        reader.read([0.5])
    with pytest.raises(DrivenError, match="no drive"):
        symbol_reader(Dynamics(lambda z, _: z, dim=1))
    with pytest.raises(InputError, match="readout"):
        symbol_reader(Dynamics(lambda z, d: z + d, dim=1, driven=True, inputs=1))
    with pytest.raises(InputError, match="different names"):
        symbol_reader(turning(), symbols=("a", "a", "b"))
    with pytest.raises(InputError, match="begin"):
        prefix_reader(counting, tokens=(0, 1), begin=())
    with pytest.raises(InputError, match="training mode"):
        prefix_reader(torch.nn.Embedding(4, 3).train(), tokens=(0, 1), begin=(0,))
    assert reader.after([])[0].shape == (0,)


def test_a_state_space_model_says_the_same_by_its_states_and_by_its_prefixes():
    """One network through both readers: from float64 states, and from the model's own pass over all it has read."""
    model = tiny("mamba")
    dynamics, ids = state_space_model(model), (3, 11, 19)
    head = model.get_output_embeddings().weight.detach().double()
    begun = dynamics(torch.zeros(1, dynamics.dim, dtype=torch.float64), embeddings(model, [0]))
    by_states = symbol_reader(
        dynamics, drives=embeddings(model, ids), start=begun[0], readout=lambda z: z[:, -head.shape[1] :] @ head.T
    )
    by_prefixes = prefix_reader(model, tokens=ids, begin=(0,))
    words = np.random.default_rng(0).integers(0, 3, (20, 8))
    assert np.array_equal(by_states.read(words).labels["output"], by_prefixes.read(words).labels["output"])


def test_a_transformer_is_taught_as_any_reader_is_and_fails_as_one_that_is_no_machine():
    """Each of 50 random logits leads after some words of an untrained GPT-2: more states than are allowed."""
    pytest.importorskip("aalpy")
    reader = prefix_reader(tiny("gpt2"), tokens=(1, 2), begin=(0,))
    learned = learn_automaton(reader, length=8, longest=12, long_words=0, most_states=12)
    assert not learned.found and "states" in learned.summary()
    even = prefix_reader(lambda tokens: one_hot(tokens.cumsum(1) % 2, 2).double(), tokens=(0, 1), begin=(0,))
    assert learn_automaton(even, length=8).machine.isomorphic_to(automaton([[0, 1], [1, 0]], [0, 1]))
