import math

import pytest
import torch

from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import bilinear
from hooks.families.rebuilt import rebuilt
from hooks.symbol_reader import symbol_reader

TURN = 2 * math.pi / 3
ROTATION = torch.tensor([[math.cos(TURN), -math.sin(TURN)], [math.sin(TURN), math.cos(TURN)]], dtype=torch.float64)
CORNERS = torch.stack([torch.linalg.matrix_power(ROTATION, k) @ torch.tensor([1.0, 0.0]).double() for k in range(3)])


def modulo_three(scale=1.7):
    """Symbol k turns a plane by k thirds, whatever the scale; the readout asks which corner is nearest."""
    A = scale * torch.stack([torch.linalg.matrix_power(ROTATION, k) for k in range(3)])
    return bilinear(A, W_y=CORNERS)


def drawn(inputs=3, dim=5, seed=0):
    return torch.randn(inputs, dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("normalised", [True, False])
def test_contract_and_replay(normalised):
    generator = torch.Generator().manual_seed(1)
    dynamics = bilinear(drawn(), normalised=normalised)
    states = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    check_dynamics(dynamics, states, drive=torch.randn(3, generator=generator, dtype=torch.float64))
    drives = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    check_dynamics(dynamics, states, drive=drives)
    check_replay(dynamics, rollout(dynamics, states, drives=drives[:, None].expand(8, 6, 3)))


def test_rotations_by_thirds_add_modulo_three_at_any_length_and_scale():
    reader = symbol_reader(modulo_three(), start=[1.0, 0.0])
    words = torch.randint(3, (16, 400), generator=torch.Generator().manual_seed(2))
    assert (reader.read(words.numpy()).labels["output"][:, -1] == (words.sum(dim=1) % 3).numpy()).all()


def test_a_step_is_the_sum_of_its_matrices_on_the_unit_sphere():
    A, state = drawn(), torch.ones(1, 5, dtype=torch.float64)
    moved = 2.0 * A[0] @ state[0] - 0.5 * A[2] @ state[0]
    drive = torch.tensor([2.0, 0.0, -0.5], dtype=torch.float64)
    torch.testing.assert_close(bilinear(A, normalised=False)(state, drive)[0], moved)
    torch.testing.assert_close(bilinear(A)(state, drive)[0], moved / moved.norm())


def test_zero_stays_zero_and_weights_make_the_map_again():
    dynamics = modulo_three()
    drive = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    assert not dynamics(torch.zeros(1, 2, dtype=torch.float64), drive).any()
    again = rebuilt(dynamics.weights)
    states = torch.randn(4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(again(states, drive), dynamics(states, drive))
    assert torch.equal(again.readout(states), dynamics.readout(states)) and again.fingerprint == dynamics.fingerprint


def test_refusals():
    with pytest.raises(InputError, match=r"A is \(inputs, dim, dim\)"):
        bilinear(torch.ones(2, 3, 4))
    with pytest.raises(InputError, match=r"readout \(outputs, dim\)"):
        bilinear(torch.ones(2, 3, 3), W_y=torch.ones(2, 4))
