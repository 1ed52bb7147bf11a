"""The processes have the paper's probabilities, the divergence is that of optimal transport, training resumes to the bit."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from analyses.symbols.regions import regions
from case_studies._emulators import (
    Recipe,
    cycle,
    emulator,
    fully_connected,
    linear_chain,
    shipped_emulator,
    sinkhorn_divergence,
    spoken,
    train_emulator,
    write_emulator,
)
from case_studies.rnn_emulating_hmm import CHAIN, _changes, _changing, _stays

SMALL = Recipe(units=6, inputs=2, length=5, batch=8, updates=110)


@pytest.mark.parametrize("process", [linear_chain(2), linear_chain(4), cycle(), fully_connected()])
def test_each_state_says_something_and_goes_somewhere(process):
    assert process.transitions.sum(axis=(0, 2)) == pytest.approx(1, abs=1e-15) and process.transitions.min() >= 0
    assert process.stationary == pytest.approx(1 / len(process.stationary))  # all four chains are symmetric


def test_the_chain_has_the_papers_probabilities():
    two, three = linear_chain(2).transitions, linear_chain(3).transitions
    assert two.sum(axis=0) == pytest.approx(np.array([[0.95, 0.05], [0.05, 0.95]]))
    assert pytest.approx(np.array([[0.99, 0.01, 0], [0, 0.01, 0.99]])) == two.sum(axis=2).T
    q = 0.05**0.5
    assert three.sum(axis=0)[1] == pytest.approx([q, 1 - 2 * q, q])
    assert three.sum(axis=2).T[1] == pytest.approx([0.495, 0.01, 0.495])  # linear between the ends


def test_symbols_change_as_often_as_the_closed_form_says():
    """Four standard errors of 200 000 steps, a factor 3 for the memory of twenty steps."""
    drawn = CHAIN.sample(runs=100, steps=2000, generator=torch.Generator().manual_seed(0)).numpy()
    said = regions(drawn)
    error = 4 * 3 * np.sqrt(0.0688 * 0.93 / 200_000)
    assert abs(_changes(said) - _changing(CHAIN)) < error
    assert _changes(said) == pytest.approx((drawn[:, 1:] != drawn[:, :-1]).mean(), abs=1e-12)
    first = drawn[:, :-1] == 0
    assert _stays(said, 0) == pytest.approx((drawn[:, 1:][first] == 0).mean(), abs=1e-12)


def test_the_divergence_of_single_points_is_their_cost():
    """Half the squared distance; blurring has nothing to spread."""
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
    assert float(sinkhorn_divergence(x, y)) == pytest.approx(12.5)
    assert float(sinkhorn_divergence(x, x)) == pytest.approx(0, abs=1e-6)


def test_the_divergence_is_optimal_transport_where_costs_are_far_above_the_blur():
    """Costs of order ten against a temperature of 0.04, with eight annealed updates: a tenth of the exact assignment."""
    generator = torch.Generator().manual_seed(0)
    x, y = (3 * torch.randn(20, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    cost = cdist(x.numpy(), y.numpy(), "sqeuclidean") / 2
    exact = cost[linear_sum_assignment(cost)].mean()
    assert float(sinkhorn_divergence(x, y)) == pytest.approx(exact, rel=0.1)


def test_the_gradient_pulls_each_point_towards_where_its_mass_goes():
    """Two far pairs: the plan is the assignment, and the gradient (x - y) / 2 over the two points."""
    x = torch.tensor([[0.0, 0.0], [100.0, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[101.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    sinkhorn_divergence(x, y).backward()
    assert x.grad.numpy() == pytest.approx(np.array([[0.0, -2.0], [-1.0, 0.0]]) / 2, abs=1e-9)


def test_symbols_are_drawn_with_the_probabilities_of_the_logits():
    """The Gumbel maximum: four standard errors of 40 000 draws."""
    logits = torch.tensor([1.0, 0.0, -1.0]).expand(40_000, 3).clone().requires_grad_()
    drawn = spoken(logits, torch.Generator().manual_seed(0))
    assert ((drawn == 0) | (drawn == 1)).all() and (drawn.sum(dim=1) == 1).all()
    expected = torch.softmax(logits[0], dim=0)
    assert ((drawn.mean(dim=0) - expected).abs() < 4 * (expected * (1 - expected) / 40_000).sqrt()).all()
    drawn[:, 0].sum().backward()
    assert logits.grad[:, 0].min() > 0  # more of a symbol where its logit grows


def test_training_resumes_to_the_same_bits(tmp_path):
    whole = train_emulator(CHAIN, SMALL)
    stopped = tmp_path / "kept.pt"
    train_emulator(CHAIN, SMALL, checkpoint=stopped, watch=lambda items, total: islice(items, 101))
    resumed = train_emulator(CHAIN, SMALL, checkpoint=stopped)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_written_network_is_read_again(tmp_path):
    module = emulator(replace(SMALL, seed=4))
    write_emulator(module, tmp_path / "one.safetensors")
    kept = load_file(tmp_path / "one.safetensors")
    assert kept.keys() == module.state_dict().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in module.state_dict().items())


def test_the_response_is_proportional_to_the_noise():
    """relu(c x) = c relu(x) for c > 0, and there is no bias: by a power of two to the bit."""
    module = shipped_emulator("emulator_chain", Recipe())
    noise = torch.randn(3, 50, Recipe().inputs, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(2 * noise), 2 * module(noise))
