"""Whose step a module is, and what is said about what stands around its recurrent layer."""

import numpy as np
import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics
from hooks.errors import InputError, LoadError
from hooks.families import recurrent, stepped
from interp.network import load


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Slow(nn.Module):
    """h' = keep h + (1 - keep) cell(x, h)."""

    def __init__(self, keep=0.9, cell=nn.GRUCell):
        super().__init__()
        self.cell = cell(2, 4)
        self.readout = nn.Linear(4, 3)
        self.keep = keep

    def forward(self, x, h=None):
        h = x.new_zeros(len(x), 4) if h is None else h
        h = self.keep * h + (1 - self.keep) * self.cell(x, h)
        return self.readout(h), h


class Alone(Slow):
    """The next state alone."""

    def forward(self, x, state):
        return self.keep * state + (1 - self.keep) * self.cell(x, state)


class Pair(nn.Module):
    """An LSTM cell with its state as a tuple, the forget of its own."""

    def __init__(self, keep):
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(2, 4), nn.Linear(4, 1)
        self.h0, self.c0 = nn.Parameter(torch.ones(4)), nn.Parameter(2 * torch.ones(4))
        self.keep = keep

    def forward(self, x, hc):
        h, c = self.cell(x, hc)
        return self.fc(h), (h, self.keep * c)


class Sequences(nn.Module):
    """A loop over the steps of (batch, steps, inputs)."""

    def __init__(self, keep=1.0):
        super().__init__()
        self.cell = nn.GRUCell(2, 4)
        self.keep = keep

    def forward(self, x, h=None):
        h = x.new_zeros(len(x), 4) if h is None else h
        states = []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h if self.keep == 1 else self.keep * h)
            states.append(h)
        return torch.stack(states, 1)


class Layered(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class OwnCell(nn.GRUCell):
    def forward(self, x, h=None):
        return 0.5 * h + 0.5 * super().forward(x, h)


def test_a_module_around_a_cell_is_stepped_by_its_own_forward():
    for module in (seeded(Slow), seeded(Alone)):
        network = load(module)
        dynamics = network.dynamics()
        h, x = some(6, 4), some(2, seed=1)
        cell = recurrent(module.cell)
        assert (dynamics(h, x) - (0.9 * h + 0.1 * cell(h, x))).abs().max() < 1e-14
        assert any("stepped by its own forward" in note for note in network.notes)
        assert (dynamics.readout(h) - module.double().readout(h)).abs().max() < 1e-14
        check_dynamics(dynamics, h, drive=x)


def test_a_forward_that_only_calls_its_cell_is_read_as_the_cell():
    for module in (seeded(lambda: Slow(0.0)), seeded(lambda: Slow(0.0, nn.RNNCell)), seeded(lambda: Pair(1.0))):
        network = load(module)
        dynamics = network.dynamics()
        assert dynamics.box is not None  # of the family recurrent
        assert any("on 64 random states: the cell is analysed" in note for note in network.notes)
        states = some(5, dynamics.dim)
        assert (dynamics(states, some(2)) - recurrent(module.cell)(states, some(2))).abs().max() < 1e-14
        assert dynamics.readout is not None


def test_the_tuple_of_an_lstm_cell_lies_side_by_side_with_its_learned_start():
    module = seeded(lambda: Pair(0.5))
    network = load(module)
    dynamics = network.dynamics()
    states, x = some(5, 8), some(2, seed=1)
    bare = recurrent(module.cell)(states, x)
    assert (dynamics(states, x) - torch.cat([bare[:, :4], 0.5 * bare[:, 4:]], 1)).abs().max() < 1e-14
    assert network.initial_state.tolist() == [1] * 4 + [2] * 4
    assert (dynamics.readout(states) - module.double().fc(states[:, :4])).abs().max() < 1e-14
    check_dynamics(dynamics, states, drive=x)


def test_a_loop_over_a_cell_is_the_cell_only_when_it_hands_the_state_on():
    module = seeded(Sequences)
    dynamics = load(module).dynamics()
    assert (dynamics(some(5, 4), some(2)) - recurrent(module.cell)(some(5, 4), some(2))).abs().max() == 0
    with pytest.raises(LoadError, match="cannot be stepped"):
        load(seeded(lambda: Sequences(0.9)))

    class Plain(Sequences):
        def forward(self, x):
            return super().forward(x)

    assert len(load(seeded(Plain)).notes) == 1
    with pytest.raises(LoadError, match="changes the state between the calls of its GRUCell 'cell'"):
        load(seeded(lambda: Plain(0.9)))
    unseen = load(seeded(lambda: Layered(cell=nn.GRUCell(2, 4))))
    assert "was not seen" in unseen.notes[1]


def test_a_cell_with_a_forward_of_its_own_is_no_torch_cell():
    module = seeded(lambda: OwnCell(2, 4))
    dynamics = load(module).dynamics()
    h, x = some(6, 4), some(2, seed=1)
    assert (dynamics(h, x) - 0.5 * (h + recurrent(nn_copy(module))(h, x))).abs().max() < 1e-14

    class OwnLayer(nn.GRU):
        def forward(self, x, h=None):
            return super().forward(2 * x, h)

    with pytest.raises(LoadError, match="OwnLayer has a forward of its own"):
        load(OwnLayer(2, 4))


def nn_copy(module):
    cell = nn.GRUCell(2, 4)
    cell.load_state_dict(module.state_dict())
    return cell


@pytest.mark.parametrize(
    ("parts", "readout", "words"),
    [
        (lambda: {"rnn": nn.GRU(2, 4), "fc": nn.Linear(4, 3)}, "fc", "'fc' (4 to 3) was taken as readout"),
        (lambda: {"rnn": nn.GRU(2, 4), "drop": nn.Dropout(), "w": nn.Linear(4, 3)}, "w", "'w' (4 to 3) was taken"),
        (lambda: {"rnn": nn.GRU(2, 4), "w": nn.Linear(4, 3, bias=False)}, "w", "was taken as readout"),
        (lambda: {"out": nn.Linear(4, 3), "rnn": nn.GRU(2, 4)}, "out", "'out' (4 to 3) was taken"),
        (lambda: {"a": nn.Linear(2, 4), "rnn": nn.GRU(4, 4)}, None, "4 wide, not the network's input"),
        (lambda: {"a": nn.Linear(4, 4), "rnn": nn.GRU(4, 4)}, None, "'a' (Linear) stands before it"),
        (
            lambda: {"a": nn.Linear(2, 4), "rnn": nn.GRU(4, 4), "fc": nn.Linear(4, 3)},
            "fc",
            "'a' (Linear) stands before",
        ),
        (
            lambda: {"rnn": nn.GRU(2, 4), "head": nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))},
            None,
            "'head.0' and 'head.2' may be one MLP head",
        ),
        (lambda: {"rnn": nn.GRU(2, 4), "a": nn.Linear(4, 4), "out": nn.Linear(4, 3)}, None, "may be one MLP head"),
        (lambda: {"rnn": nn.GRU(2, 4), "a": nn.Linear(4, 3), "b": nn.Linear(4, 2)}, None, "(a, b); none is used"),
        (lambda: {"rnn": nn.GRU(2, 4), "a": nn.Linear(4, 1), "out": nn.Linear(4, 2)}, "out", "'out' (4 to 2) was"),
        (
            lambda: {"rnn": nn.GRU(2, 4), "norm": nn.LayerNorm(4), "fc": nn.Linear(4, 3)},
            None,
            "'norm' (LayerNorm) stands",
        ),
        (lambda: {"rnn": nn.GRU(2, 4), "other": nn.Linear(9, 3)}, None, "not the module's own forward"),
    ],
)
def test_a_linear_layer_is_the_readout_by_name_or_position_and_every_assumption_is_said(parts, readout, words):
    module = seeded(lambda: Layered(**parts()))
    network = load(module)
    assert words in " ".join(network.notes)
    assert (network.readout is None) == (readout is None)
    if readout:
        assert torch.equal(network.readout.weight, module.get_submodule(readout).weight)


def test_a_head_in_a_state_dict_is_no_readout_and_what_is_not_read_is_said():
    gru, one, two = seeded(lambda: (nn.GRU(2, 4), nn.Linear(4, 8), nn.Linear(8, 3)))
    keys = {f"rnn.{key}": value for key, value in gru.state_dict().items()}
    named = lambda name, part: {f"{name}.{key}": value for key, value in part.state_dict().items()}  # noqa: E731
    head = load({**keys, **named("head", one), **named("out", two)})
    assert head.readout is None and "may be one MLP head" in head.notes[0]
    embedded = load({**named("embed", nn.Linear(7, 2)), **keys, **named("fc", one)})
    assert embedded.notes == (
        "The linear layer 'fc' (4 to 8) was taken as readout.",
        "Not read: embed.weight (2, 7), embed.bias (2,).",
    )


def test_a_step_without_cells_has_the_readout_that_its_output_is():
    class Bare(nn.Module):
        input_size, hidden_size = 2, 4

        def __init__(self, bend):
            super().__init__()
            self.W, self.U, self.say = nn.Linear(4, 4), nn.Linear(2, 4), nn.Linear(4, 3)
            self.bend = bend

        def forward(self, x, h):
            h = torch.tanh(self.W(h) + self.U(x))
            return self.bend(self.say(h)), h

    module = seeded(lambda: Bare(lambda y: y))
    network = load(module)
    assert torch.equal(network.readout.weight, module.say.weight) and "'say' of the next state" in network.notes[-1]
    bent = load(seeded(lambda: Bare(torch.sigmoid)))
    assert bent.readout is None and "no linear layer of the next state" in bent.notes[-1]


def test_a_start_that_does_not_fit_is_said():
    module = seeded(lambda: Layered(rnn=nn.LSTM(2, 4), h0=nn.Parameter(torch.ones(1, 1, 4))))
    network = load(module)
    assert network.initial_state is None and "of 4 values does not fit the 8 of the state" in network.notes[-1]
    module.c0 = nn.Parameter(torch.zeros(1, 1, 4))
    for source in (module, module.state_dict()):
        assert np.array_equal(load(source).initial_state, [1.0] * 4 + [0.0] * 4)


def test_a_forward_that_raises_is_one_sentence():
    class Angry(Slow):
        def forward(self, x, h):
            raise KeyError("no\nsuch thing")

    with pytest.raises(
        LoadError, match=r"fails on an input of shape \(2, 2\) and a state of shape \(2, 4\): KeyError: "
    ):
        load(seeded(Angry))
    with pytest.raises(InputError, match="fails on an input"):
        stepped(seeded(Angry), dim=4, inputs=2)
