import networkx as nx
import numpy as np
import pytest
import torch

from analyses.maps.transitions import DEPENDS, NOWHERE, Transitions, transitions
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError

P = 0.9575040240772687  # root of x = tanh(2 x)


def bits():
    """Two independent bits, x' = tanh(2 x + drive): a pulse of 3 on a channel sets its bit."""
    return Dynamics(lambda x, u: torch.tanh(2 * x + u), dim=2, driven=True, inputs=2, name="two bits")


CORNERS = [np.array([[a * P, b * P]]) for a in (1, -1) for b in (1, -1)]
PULSES = np.array([[3.0, 0], [-3.0, 0], [0, 3.0], [0, -3.0]])


def table(**options):
    return transitions(
        bits(), CORNERS, PULSES, rest=np.zeros(2),
        memory_names=("++", "+-", "-+", "--"), pulse_names=("set 1", "clear 1", "set 2", "clear 2"), **options,
    )  # fmt: skip


def test_a_pulse_sets_its_bit_and_leaves_the_other():
    result = table()
    assert result.targets.tolist() == [[0, 2, 0, 1], [1, 3, 0, 1], [0, 2, 2, 3], [1, 3, 2, 3]]
    assert result.deterministic and result.setting.all() and result.robust.all()
    assert result.checks[0].passed
    assert "16 of 16 kicks end on a known memory; 8 change it" in result.summary()


def test_graph_is_the_automaton_of_two_switches():
    graph = table().to_networkx()
    assert isinstance(graph, nx.MultiDiGraph) and graph.number_of_edges() == 16
    assert {target for _, target, pulse in graph.out_edges("--", data="pulse") if pulse == "set 1"} == {"+-"}
    assert nx.is_strongly_connected(nx.DiGraph(graph))


def test_a_weak_pulse_changes_nothing():
    result = transitions(bits(), CORNERS, 0.01 * PULSES, rest=np.zeros(2))
    assert (result.targets == np.arange(4)[:, None]).all()


def test_a_memory_that_does_not_hold_is_caught_by_the_control():
    result = transitions(bits(), [*CORNERS, np.array([[0.3, 0.3]])], PULSES, rest=np.zeros(2))
    assert not result.checks[0].passed and result.checks[0].got == 1


def test_an_alternating_memory_is_kicked_in_every_phase():
    """x' = -tanh(2 x + u): the two-cycle's phases are +p and -p; a kick ends on the cycle whatever the phase."""
    flip = Dynamics(lambda x, u: -torch.tanh(2 * x + u), dim=1, driven=True, inputs=1)
    result = transitions(flip, [np.array([[P], [-P]])], [[3.0]], rest=[0.0])
    assert result.targets.tolist() == [[0]]


def test_an_outcome_that_depends_on_the_phase_says_so():
    """Two attractors of a shifted map reached from one fake orbit: its two 'phases' end in different places."""
    result = transitions(bits(), [np.array([[P, P], [-P, -P]]), *CORNERS[1:3]], [[0.0, 3.0]], rest=np.zeros(2))
    assert result.targets[0, 0] == DEPENDS and not result.deterministic


def test_a_kick_out_of_every_memory_ends_nowhere():
    escape = Dynamics(
        lambda x, u: 0.5 * x * (1 + (x.abs() > 1).to(x)) * (1 + (x.abs() > 1).to(x)) + u, dim=1, driven=True, inputs=1
    )
    result = transitions(escape, [np.array([[0.0]])], [[5.0]], rest=[0.0], settle=20)
    assert result.targets.tolist() == [[NOWHERE]]


def test_no_memories_no_pulses_and_refusals():
    assert transitions(bits(), [], PULSES, rest=np.zeros(2)).targets.shape == (0, 4)
    assert transitions(bits(), CORNERS, np.zeros((0, 2)), rest=np.zeros(2)).targets.shape == (4, 0)
    with pytest.raises(DrivenError, match="has none"):
        transitions(bits().hold([0.0, 0.0]), CORNERS, PULSES, rest=np.zeros(2))
    with pytest.raises(InputError, match="4 different names"):
        transitions(bits(), CORNERS, PULSES, rest=np.zeros(2), memory_names=("a", "a", "b", "c"))


def test_result_survives_writing():
    result = table()
    again = Transitions.from_dict(result.to_dict())
    assert np.array_equal(again.targets, result.targets) and np.array_equal(again.robust, result.robust)
    assert again.memory_names == result.memory_names
    assert result.plot().get_ylabel() == "memory"
