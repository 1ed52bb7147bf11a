"""Networks whose automaton is known: written by hand, or made from the machine itself."""

import numpy as np
import torch
from torch import nn

from analyses.symbols.automaton import Automaton, automaton
from hooks.dynamics import Dynamics
from hooks.families import recurrent
from hooks.symbol_reader import SymbolReader, symbol_reader

PARITY = automaton([[0, 1], [1, 0]], [0, 1])


def ring(states: int) -> Automaton:
    """Counts its 1s modulo ``states`` and says whether the count is 0."""
    here = np.arange(states)
    return automaton(np.stack([here, (here + 1) % states], axis=1), (here == 0).astype(int))


EVEN, ODD = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
# A rectified network of four units, h' = relu(W h + V x - 1): of even and 0, odd and 1, odd and 0, even and 1 one is 1.
PARITY_WEIGHTS = {
    "weight_hh_l0": torch.stack([EVEN, ODD, ODD, EVEN]),
    "weight_ih_l0": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]),
    "bias_ih_l0": -torch.ones(4),
    "bias_hh_l0": torch.zeros(4),
}
PARITY_READOUT, PARITY_START = torch.stack([EVEN, ODD]), torch.tensor([1.0, 0.0, 0.0, 0.0])


def parity_reader() -> SymbolReader:
    """The network of ``PARITY_WEIGHTS``."""
    net, readout = nn.RNN(2, 4, nonlinearity="relu"), nn.Linear(4, 2, bias=False)
    net.load_state_dict(PARITY_WEIGHTS)
    readout.load_state_dict({"weight": PARITY_READOUT})
    return symbol_reader(recurrent(net, readout=readout), start=PARITY_START)


def machine_reader(machine: Automaton, *, idle: int = 2) -> SymbolReader:
    """The machine as a map: its state one-hot, and beside it ``idle`` coordinates that keep a sum of what was read and tell
    nothing."""
    edges, said = torch.as_tensor(machine.transitions), torch.as_tensor(machine.labels)
    states, symbols = machine.transitions.shape
    weights = torch.linspace(0.3, 0.9, symbols * idle, dtype=torch.float64).reshape(symbols, idle)

    def step(now: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        after = edges[now[:, :states].argmax(1), drive.argmax(-1)]
        return torch.cat([torch.eye(states).double()[after], 0.9 * now[:, states:] + drive @ weights], dim=1)

    def readout(now: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(machine.outputs)).double()[said[now[:, :states].argmax(1)]]

    dynamics = Dynamics(step, states + idle, driven=True, inputs=symbols, readout=readout, name="machine")
    start = torch.eye(states + idle).double()[machine.initial]
    return symbol_reader(dynamics, start=start, symbols=machine.symbols, outputs=machine.outputs)
