from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hooks.capture import first_tensor
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import ContractError, InputError
from hooks.families.residual import residual
from hooks.stack import record_stream, stack_of
from hooks.tangent import jacobian, push
from tests.hooks.test_stack import bridged
from tests.tiny import BLOCKS, NAMES, ODD, WIDTH, tiny, tokens

TEXT = tokens(1, 7)


def some(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(stream):
    """One run of the whole stream of one text, position after position."""
    states = stream.states.transpose(1, 0, 2).reshape(1, stream.states.shape[1], -1)
    return replace(stream, states=states, lengths=None, drives=stream.drives[:1], labels={})


def injected(stack, states, layer, where):
    """The stream after a block of the full forward pass into which a hook put these states before it."""
    block, left = stack.module.get_submodule(stack.blocks[layer]), []

    def put(_, args, options):
        stream = first_tensor([*args, *options.values()], "block").clone()
        stream[:, where] = states.reshape(len(states), -1, stack.width)
        return ((stream, *args[1:]), options) if args else (args, {**options, "hidden_states": stream})

    handles = [
        block.register_forward_pre_hook(put, with_kwargs=True),
        block.register_forward_hook(lambda *parts: left.append(first_tensor(parts[2], "block"))),
    ]
    stack.run(TEXT.expand(len(states), -1))
    [handle.remove() for handle in handles]
    return left[0][:, where].reshape(states.shape)


@pytest.mark.parametrize("name", [*NAMES, *ODD])
@pytest.mark.parametrize("positions", [4, None])
def test_a_step_is_what_the_full_pass_does_to_a_state_put_into_it(name, positions):
    stack = stack_of(tiny(name))
    dynamics = residual(stack, TEXT, positions=positions)
    stream = record_stream(stack, TEXT, positions=positions)
    stream = whole(stream) if positions is None else stream
    assert check_replay(dynamics, stream, tolerance=1e-6) == 0  # the same batch of one, so the same bits
    states = torch.as_tensor(stream.states[:, 1].copy()).float() + 0.3 * some(4, dynamics.dim)
    where = list(range(7)) if positions is None else [positions]
    for layer in range(BLOCKS):
        # the same operations on the same numbers; only masks may be laid out for the batch otherwise
        torch.testing.assert_close(dynamics(states, layer), injected(stack, states, layer, where), atol=1e-6, rtol=0)
    assert dynamics.clock == "layer" and dynamics.dim == len(where) * WIDTH


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_holds_and_forward_mode_carries_what_the_jacobian_does(name):
    dynamics = residual(stack_of(tiny(name)), TEXT, positions=2)
    states, tangents = some(3, WIDTH), some(3, WIDTH, 4, seed=2)
    check_dynamics(dynamics, states, drive=1)
    after, carried = push(dynamics, states, tangents, 1)
    torch.testing.assert_close(after, dynamics(states, 1), atol=1e-5, rtol=0)
    expected = jacobian(dynamics, states, 1) @ tangents
    # float32 sums of a few hundred terms of size 1
    torch.testing.assert_close(carried, expected, atol=1e-5 * float(expected.detach().abs().max()), rtol=0)


def test_a_bridge_is_stepped_as_the_model_in_it():
    model, states = tiny("llama"), some(3, WIDTH)
    here, there = residual(model, TEXT, positions=4), residual(bridged(model), TEXT, positions=4)
    for layer in range(BLOCKS):
        torch.testing.assert_close(there(states, layer), here(states, layer), atol=1e-6, rtol=0)


def test_each_state_has_its_own_layer_and_a_rollout_is_the_stream():
    stack = stack_of(tiny("llama"))
    dynamics = residual(stack, TEXT, positions=[1, 5])
    states, layers = some(5, 2 * WIDTH), torch.tensor([2, 0, 1, 0, 2])
    each = torch.cat([dynamics(states[[row]], int(layer)) for row, layer in enumerate(layers)])
    torch.testing.assert_close(dynamics(states, layers[:, None]), each, atol=1e-5, rtol=0)
    held = dynamics.hold(1)
    torch.testing.assert_close(held(states), dynamics(states, 1), atol=0, rtol=0)
    stream = whole(record_stream(stack, TEXT, positions=[1, 5]))
    rolled = rollout(dynamics, stream.states[:, 0], drives=np.arange(BLOCKS)[:, None])
    np.testing.assert_allclose(rolled.states, stream.states, atol=1e-6)
    assert dynamics(states[:0], 1).shape == (0, 2 * WIDTH)


def test_a_double_copy_is_exact_where_the_blocks_stay_double():
    model = tiny("gpt2")
    dynamics = residual(model, TEXT, positions=3, dtype=torch.float64)
    assert dynamics.dtype == torch.float64 and next(model.parameters()).dtype == torch.float32
    check_dynamics(dynamics, some(3, WIDTH).double(), drive=0)
    single = residual(model, TEXT, positions=3)
    gap = dynamics(some(3, WIDTH).double(), 0) - single(some(3, WIDTH), 0)
    assert 0 < gap.abs().max() < 1e-5  # rounding of float32
    assert single.fingerprint != residual(model, TEXT, positions=2).fingerprint
    assert single.fingerprint != residual(model, tokens(1, 7, seed=3), positions=3).fingerprint
    assert single.fingerprint == residual(tiny("gpt2"), TEXT, positions=3).fingerprint


class Block(nn.Module):
    """Adds a number that it is given, and, when it does not forget, how often it ran."""

    def __init__(self, forgets):
        super().__init__()
        self.forgets, self.calls = forgets, 0

    def forward(self, stream, number):
        self.calls += 1
        return 2 * stream + number + (0 if self.forgets else self.calls)


class Turns(nn.Module):
    """One block run three times in a pass, with another number each time, as depth-recurrent models do."""

    def __init__(self, forgets=True):
        super().__init__()
        self.blocks = nn.ModuleList([Block(forgets)])

    def forward(self, stream):
        for turn in range(3):
            stream = self.blocks[0](stream, number=turn)
        return stream


def test_a_block_that_runs_in_turns_has_a_layer_for_each():
    stack = stack_of(Turns().eval(), width=2)
    vectors = torch.zeros(1, 4, 2)
    dynamics = residual(stack, vectors, positions=0)
    assert check_replay(dynamics, record_stream(stack, vectors, positions=0)) == 0
    assert dynamics(torch.ones(1, 2), 2).tolist() == [[4.0, 4.0]]


def test_refusals_say_what_came():
    with pytest.raises(ContractError, match="keeps a memory of its own"):
        residual(stack_of(Turns(forgets=False).eval(), width=2), torch.zeros(1, 4, 2))
    model = tiny("gpt2")
    with pytest.raises(InputError, match="one of its 3 layers"):
        residual(model, TEXT)(torch.zeros(1, 7 * WIDTH), 3)
    for drive in (-1, 0.5, torch.zeros(4, 1)):
        with pytest.raises(InputError, match="or one for each of 2 states"):
            residual(model, TEXT, positions=0)(torch.zeros(2, WIDTH), drive)
    with pytest.raises(InputError, match="a text is"):
        residual(model, tokens(2, 5))
    with pytest.raises(InputError, match="so there is no state"):
        residual(model, TEXT, positions=slice(0, 0))
    with pytest.raises(InputError, match="do not lie in a text of 7"):
        residual(model, TEXT, positions=7)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
