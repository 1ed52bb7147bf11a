"""Training is repeatable from its seed, stops at its goal, and leaves torch's own generator alone."""

import torch
from torch import nn

from case_studies._train import train


def line(generator):
    x = torch.rand(32, 1, generator=generator)
    return x, 2 * x - 1


def fitted(seed, **options):
    return train(lambda: nn.Linear(1, 1), line, seed=seed, learning_rate=0.1, **options)


def test_a_line_is_learned_and_training_stops_at_the_goal():
    module, last = fitted(0, updates=2000, goal=1e-6)
    assert last.loss < 1e-6 and last.updates < 2000
    # a mean square of 1e-6 over [0, 1] leaves slope and offset within some 1e-2
    assert abs(module.weight.item() - 2) < 1e-2 and abs(module.bias.item() + 1) < 1e-2
    assert not module.training and not module.weight.requires_grad


def test_one_seed_gives_one_network_and_another_another():
    weights = [fitted(seed, updates=5)[0].weight.item() for seed in (3, 3, 4)]
    assert weights[0] == weights[1] != weights[2]


def test_the_callers_generator_is_untouched():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    fitted(0, updates=2)
    assert torch.equal(torch.rand(1), expected)
