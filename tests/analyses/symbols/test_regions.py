import json

import networkx as nx
import numpy as np
import pytest
import torch

from analyses.symbols.regions import regions
from analyses.symbols.symbolic_graph import symbolic_graph
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory
from tests.analyses.symbols.shifts import CHAIN, chain, stationary


def specimens():
    return [*(regions(chain(2, 300)), regions(np.zeros((0, 5), dtype=np.int64))),
            *(symbolic_graph(regions(chain(2, 300))), symbolic_graph(regions(np.zeros((1, 0), dtype=np.int64))))]  # fmt: skip


def test_by_hand():
    found = regions([[5, 5, 2, 2, 2, 5], [2, 2, 5, 0, 0, 0]], lengths=[6, 3])
    assert found.labels.tolist() == [2, 5] and found.visits.tolist() == [5, 4]  # what lies past a run's end is not read
    assert found.symbols.tolist() == [[1, 1, 0, 0, 0, 1], [0, 0, 1, -1, -1, -1]]
    assert found.jumps.tolist() == [[0, 2], [1, 0]]  # never from one run to the next
    assert found.dwell_steps.tolist() == [2, 3, 1, 2, 1] and found.dwell_regions.tolist() == [1, 0, 1, 0, 1]
    assert found.dwell_censored.tolist() == [True, False, True, True, True]
    assert found.mean_dwells[0] == 3 and np.isnan(found.mean_dwells[1])
    assert found.coverage.tolist() == pytest.approx([5 / 9, 1.0]) and all(check.passed for check in found.checks)
    coded = found.jump_coded()  # ranked anew: 5 begins three stays, 2 begins two
    assert coded.labels.tolist() == [5, 2] and coded.symbols.tolist() == [[0, 1, 0], [1, 0, -1]]
    assert found.jump_coded().duration == found.duration == 9


def test_a_markov_chain_gives_its_stationary_shares_geometric_dwells_and_jump_probabilities():
    found = regions(chain(64, 2000))
    truth = dict(enumerate(stationary()))
    for label, share, error in zip(found.labels, found.occupancy, found.standard_errors, strict=True):
        assert abs(share - truth[label]) < 4 * error < 0.05
    for label, dwell in zip(found.labels, found.mean_dwells, strict=True):
        stay = CHAIN[label, label]  # geometric: mean 1 / (1 - stay), variance stay / (1 - stay)^2
        stays = (~found.dwell_censored & (found.dwell_regions == found.labels.tolist().index(label))).sum()
        # stays cut by the ends of runs are missing, the long ones rather: at most one stay in 2000 / 20 of them
        assert abs(dwell - 1 / (1 - stay)) < 4 * np.sqrt(stay) / (1 - stay) / np.sqrt(stays) + 0.02 / (1 - stay)
    graph = symbolic_graph(found)
    names = [int(name) for name in graph.names]
    inside = 0
    for source, target, (low, high) in zip(graph.sources, graph.targets, graph.intervals, strict=True):
        i, j = names[source], names[target]
        inside += low <= CHAIN[i, j] / (1 - CHAIN[i, i]) <= high
    assert len(graph.counts) == 4 and inside >= 3  # four intervals of 95 %, two of them of probability 1
    assert {(names[i], names[j]) for i, j in zip(graph.sources, graph.targets, strict=True)} == {
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
    }
    assert graph.strongly_connected


def test_standard_errors_of_independent_draws_are_binomial():
    symbols = (np.random.default_rng(0).random((32, 1000)) < 0.3).astype(np.int64)
    found = regions(symbols)
    # from 32 batches: good to 1 / sqrt(62) = 13 %; three of them
    assert found.standard_errors[0] == pytest.approx(np.sqrt(0.3 * 0.7 / 32000), rel=0.39)


def test_bits_of_a_network_name_the_regions():
    """z' = -z with both units rectified: from (1, -1) the second unit's region follows the first's."""
    network = PiecewiseLinear(torch.tensor([-1.0, -1.0]), torch.zeros(2, 2), torch.zeros(2), 2)
    found = regions(rollout(network.dynamics(), [[1.0, -1.0]], steps=9), network=network)
    assert found.names == ("01", "10") and found.visits.tolist() == [5, 5]
    assert found.jumps.tolist() == [[0, 4], [5, 0]] and found.bits.tolist() == [[False, True], [True, False]]
    none = PiecewiseLinear(torch.tensor([0.5]), torch.zeros(1, 1), torch.zeros(1), 0)
    single = regions(rollout(none.dynamics(), [[1.0]], steps=3), network=none)
    assert (
        single.visits.tolist() == [4] and single.coverage.tolist() == [1.0] and symbolic_graph(single).counts.size == 0
    )


def test_coverage_curves_are_compared_by_rank():
    one, other = regions([0, 0, 0, 1]), regions([7, 9, 9, 9])
    assert one.coverage_distance(other) == 0.0
    assert one.coverage_distance(regions([0, 1, 2, 3])) == pytest.approx(0.5)  # 0.75, 1 against 0.25, 0.5
    assert regions([[0, 0, 0, 1], [0, 1, 0, 1]]).run_distances.tolist() == [[0.0, 0.25], [0.25, 0.0]]


def test_one_symbol_a_turn():
    found = regions([[0, 0, 1, 1, 0, 0]]).read_at(np.array([[True, False, True, False, True, False]]))
    assert found.symbols.tolist() == [[0, 1, 0]] and found.coding == "turns" and found.duration == 6
    with pytest.raises(InputError, match=r"turns are marked for \(runs, steps\) = \(1, 6\)"):
        regions([[0, 0, 1, 1, 0, 0]]).read_at(np.array([[True]]))


def test_exports_are_read_by_others():
    graph = symbolic_graph(regions(chain(4, 500)))
    there = nx.parse_graphml(graph.to_graphml())
    assert set(there.edges) == set(graph.to_networkx().edges)
    assert nx.node_link_graph(json.loads(graph.to_json()), edges="links").number_of_edges() == len(graph.counts)
    assert graph.to_dot().startswith("digraph regions {") and graph.to_dot().count("->") == len(graph.counts)


@pytest.mark.parametrize(
    ("recorded", "options", "said"),
    [
        ([0.5], {}, "symbols are whole numbers"),
        ([[0, -1]], {}, "a negative one came"),
        ([[0, 1]], {"lengths": [3]}, "lengths give each of 1 runs 0 to 2"),
        (Trajectory(np.zeros((1, 3, 2))), {}, "a Trajectory needs the network"),
    ],
)
def test_what_is_no_code_is_refused(recorded, options, said):
    with pytest.raises(InputError, match=said):
        regions(recorded, **options)
