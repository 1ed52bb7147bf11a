"""The flip-flop's targets are what a person would write down, and the share of pulses is the one asked for."""

import torch

from case_studies._tasks import flip_flop


def test_target_is_the_sign_of_the_last_pulse():
    inputs, targets = flip_flop(bits=2, runs=5, steps=40, generator=torch.Generator().manual_seed(1))
    for run in range(5):
        for bit in range(2):
            held = 0.0
            for step in range(40):
                held = inputs[run, step, bit].item() or held
                assert targets[run, step, bit] == held
    assert (inputs[:, 0] != 0).all()


def test_pulses_come_as_often_as_asked_and_with_both_signs_alike():
    inputs, _ = flip_flop(bits=3, runs=200, steps=100, generator=torch.Generator().manual_seed(2), pulse=0.2)
    later = inputs[:, 1:]
    count = later.numel()
    assert abs((later != 0).double().mean() - 0.2) < 4 * (0.2 * 0.8 / count) ** 0.5  # four standard errors
    assert abs(later.mean()) < 4 * (0.2 / count) ** 0.5
