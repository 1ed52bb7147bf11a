import pytest
import torch

from case_studies.memory_geometry import (
    BITS,
    CONSISTENT,
    COPY,
    KINDS,
    LEAK,
    MEMORY,
    RECTIFIED,
    SHUFFLED,
    UNITS,
    Training,
    advanced,
    answers,
    drawn,
    holding,
    over_training,
    trained,
    trials,
)
from hooks.contract import check_dynamics
from hooks.families import PiecewiseLinear
from hooks.families.leaky_rate import LeakyRate


def history(kind, checkpoints=3):
    """As many seeds in place of the checkpoints of one."""
    each = [drawn(kind, seed) for seed in range(checkpoints)]
    weights = {name: torch.stack([one[name] for one in each]).double() for name in each[0]}
    return Training(kind, torch.ones(checkpoints).double().numpy(), weights)


def states(rows):
    return torch.randn(rows, UNITS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_every_checkpoint_steps_as_its_family_does(kind):
    training, at = history(kind), states(3)
    for number in range(3):
        own = {name: each[number] for name, each in training.weights.items()}
        if kind == "leaky":
            family = LeakyRate(
                own["W"], torch.zeros(UNITS, 0).double(), own["b"], torch.tensor(LEAK, dtype=torch.float64)
            ).dynamics()
        else:
            family = PiecewiseLinear(own["A"], own["W"], own["b"], RECTIFIED).dynamics()
        found = over_training(training)(at, torch.full((3, 1), float(number)).double())
        torch.testing.assert_close(found, family(at), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_map_over_training_keeps_the_contract(kind):
    check_dynamics(over_training(history(kind)), states(6), drive=torch.arange(6).double()[:, None] % 3)


def test_conditions_ask_for_the_memory_the_input_or_the_memory_of_another_trial():
    inputs, memory = trials(MEMORY, 16, torch.Generator().manual_seed(0))
    assert torch.equal(memory[:, 0], inputs[:, 0]) and (memory.abs() == 1).all()
    again, copied = trials(COPY, 16, torch.Generator().manual_seed(0))
    assert torch.equal(again, inputs) and torch.equal(copied, inputs)
    _, other = trials(SHUFFLED, 16, torch.Generator().manual_seed(0))
    assert not torch.equal(other, memory) and torch.equal(other.sum(0), memory.sum(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_trains_each_network_as_if_alone(kind):
    """Float32, 40 updates of 50 steps: rounding of 1e-7 grows with Adam's quotients, to a thousandth of the loss at most."""
    together = trained(kind, ((MEMORY, 0), (CONSISTENT, 0)), 40)
    (alone,) = trained(kind, ((CONSISTENT, 0),), 40)
    assert together[1].losses == pytest.approx(alone.losses, abs=1e-3) and alone.losses[0] == 1.0
    assert not torch.equal(together[0].weights["W"][1], together[1].weights["W"][1])


@pytest.mark.parametrize("kind", KINDS)
def test_states_that_hold_are_reached_by_the_pulses(kind):
    """Two of each setting at each checkpoint; the last is twenty steps without input after the first."""
    training = history(kind)
    starts, numbers = holding(training)
    assert starts.shape == (3 * 16, UNITS) and numbers[:, 0].tolist() == [0.0] * 16 + [1.0] * 16 + [2.0] * 16
    grid = starts.reshape(3, 8, 2, UNITS)
    after = grid[:, :, 0]
    for _ in range(20):
        after = advanced(kind, training.weights, after, None)
    torch.testing.assert_close(after, grid[:, :, 1], rtol=0, atol=1e-12)


def test_answers_begin_at_zero_since_the_readout_does():
    weights = {name: each[None] for name, each in drawn("leaky", 0).items()}
    said, path = answers("leaky", weights, torch.ones(1, 2, 5, BITS))
    assert said.abs().max() == 0 and path.shape == (1, 2, 5, UNITS)
