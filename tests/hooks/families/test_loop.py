import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families.loop import iterated_stack, loop, recurrent_depth
from hooks.tangent import jacobian, push

STEPS, WIDTH = 3, 4


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Core(nn.Module):
    """A causal mean of the positions so far, mixed with what is injected."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.mix = nn.Linear(2 * WIDTH, WIDTH)
        self.mix.weight.data = gain * some(WIDTH, 2 * WIDTH, seed=1).float() / math.sqrt(2 * WIDTH)

    def forward(self, stream, injected):
        reached = stream.cumsum(1) / torch.arange(1, stream.shape[1] + 1)[:, None]
        return torch.tanh(self.mix(torch.cat([reached, injected], dim=-1)))


def test_a_linear_autoencoders_loop_is_the_product_of_its_matrices():
    """Rank-one memory: encode = b', decode = a z, so z -> (b'a) z, here 0.5: its one rest is 0, and its exponent ln 0.5."""
    encode, decode = nn.Linear(3, 1, bias=False), nn.Linear(1, 3, bias=False)
    decode.weight.data = torch.tensor([[1.0], [2.0], [3.0]])
    encode.weight.data = torch.tensor([[0.25, 0.125, 0.0]])
    dynamics = loop(encode, decode, dim=1)
    check_dynamics(dynamics, some(4, 1))
    assert (dynamics.clock, dynamics.dim) == ("iteration", 1) and dynamics.fingerprint
    torch.testing.assert_close(dynamics(some(5, 1)), 0.5 * some(5, 1), rtol=0, atol=1e-15)
    torch.testing.assert_close(dynamics.readout(torch.ones(1, 1, dtype=torch.float64))[0], decode.weight.double()[:, 0])
    found = find_fixed_points(dynamics, some(8, 1))
    np.testing.assert_allclose(found.points, [[0.0]], atol=1e-10)
    spectrum = lyapunov_spectrum(dynamics, some(8, 1), steps=64)
    assert spectrum.verdicts[0].startswith("stable")  # halving never rests
    assert spectrum.exponents[0, 0] == pytest.approx(math.log(0.5), abs=1e-12)  # the same factor at every step


def test_memories_of_an_autoencoder_are_fixed_points_of_its_loop():
    """tanh(2 z) keeps two memories at the roots of z = tanh(2 z), +-0.9575, and an unstable rest at 0 between them."""
    found = find_fixed_points(loop(torch.tanh, lambda z: 2 * z, dim=1), np.linspace(-2, 2, 9)[:, None])
    np.testing.assert_allclose(np.sort(found.points[:, 0]), [-0.9575040240772687, 0, 0.9575040240772687], atol=1e-9)
    assert sorted(found.stable) == [False, True, True]


def test_recurrent_depth_is_the_module_run_again_with_the_embedding_held():
    core = Core()
    dynamics = recurrent_depth(core, steps=STEPS, width=WIDTH, readout=nn.Linear(WIDTH, 2))
    embedding = some(STEPS, WIDTH, seed=2)
    check_dynamics(dynamics, some(4, 12), drive=embedding.flatten())
    held = dynamics.hold(embedding.flatten())
    check_replay(held, rollout(held, some(4, 12), steps=5))
    stream, flat = some(1, STEPS, WIDTH, seed=3), some(1, STEPS, WIDTH, seed=3).flatten(1)
    twin = Core().double()
    twin.load_state_dict(core.state_dict())
    with torch.no_grad():
        for _ in range(3):
            stream, flat = twin(stream, embedding[None]), held(flat)
    torch.testing.assert_close(flat, stream.flatten(1), rtol=0, atol=1e-15)
    assert dynamics.readout(flat).shape == (1, 2 * STEPS) and core.mix.weight.dtype == torch.float32
    assert len({dynamics.fingerprint, held.fingerprint, ""}) == 3


def test_each_input_has_its_own_fixed_point_and_causal_positions_do_not_feel_later_ones():
    dynamics = recurrent_depth(Core(0.5), steps=STEPS, width=WIDTH)
    embeddings = some(4, 12, seed=5)
    embeddings[1, :8] = embeddings[0, :8]  # the first two positions alike
    found = find_fixed_points(dynamics, np.zeros((4, 12)), drives=embeddings)
    assert len(found.points) == 4 and found.stable.all()
    zero, one = found.points[found.landed[0]], found.points[found.landed[1]]
    np.testing.assert_allclose(zero[:8], one[:8], atol=1e-9)  # both to the tolerance of a root
    assert np.abs(zero[8:] - one[8:]).max() > 1e-3


def test_without_injection_the_core_takes_the_stream_alone():
    dynamics = recurrent_depth(lambda stream: 0.5 * stream, steps=2, width=3, injected=0)
    assert not dynamics.driven and dynamics.fingerprint == ""
    torch.testing.assert_close(dynamics(some(2, 6)), 0.5 * some(2, 6))


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_iterated_stack_is_its_blocks_in_turn(by_hand):
    W = 0.3 * some(3, 4, 4, seed=4)

    def slope(x, layer):
        return torch.eye(4).double() + (1 - torch.tanh(x @ W[layer].mT) ** 2)[:, :, None] * W[layer]

    layered = Dynamics(
        lambda x, layer: x + torch.tanh(x @ W[layer].mT), dim=4, driven=True, clock="layer", fingerprint="f",
        jacobian=slope if by_hand else None,
        push=(lambda x, t, layer: (x + torch.tanh(x @ W[layer].mT), slope(x, layer) @ t)) if by_hand else None,
    )  # fmt: skip
    whole, states = iterated_stack(layered, 3), some(5, 4)
    check_dynamics(whole, states)
    expected, product = states, torch.eye(4, dtype=torch.float64)
    for layer in range(3):
        product, expected = slope(expected, layer) @ product, layered(expected, layer)
    torch.testing.assert_close(whole(states), expected, rtol=0, atol=0)
    torch.testing.assert_close(jacobian(whole, states), product, rtol=0, atol=1e-14)
    torch.testing.assert_close(push(whole, states, product)[1], product @ product, rtol=0, atol=1e-13)
    assert (whole.clock, whole.driven, whole.fingerprint) == ("iteration", False, "f*3")


def test_what_is_no_loop_is_refused():
    with pytest.raises(InputError, match=r"encode\(decode\(code\)\) must give back the shape it takes, \(2, 2\) flat"):
        loop(nn.Linear(3, 1), nn.Linear(2, 3), dim=2)
    with pytest.raises(InputError, match="the core fails on states of shape"):
        recurrent_depth(Core(), steps=2, width=3)
    with pytest.raises(DrivenError, match="has no blocks to run in turn"):
        iterated_stack(Dynamics(lambda x, _: x, dim=1, clock="layer"), 2)
    with pytest.raises(InputError, match="takes a map of clock 'layer' and a block at least; 'time', 2 blocks"):
        iterated_stack(Dynamics(lambda x, u: x, dim=1, driven=True), 2)
