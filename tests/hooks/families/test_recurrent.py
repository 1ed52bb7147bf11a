import math

import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import LeakyRate, dale, low_rank, recurrent
from hooks.tangent import _reverse, drive_jacobian, jacobian, push

LAYERS = [
    lambda: nn.RNN(3, 5),
    lambda: nn.RNN(3, 4, nonlinearity="relu", num_layers=2),
    lambda: nn.GRU(3, 5),
    lambda: nn.GRU(3, 4, num_layers=3, batch_first=True, bias=False),
    lambda: nn.LSTM(3, 5),
    lambda: nn.LSTM(3, 4, num_layers=2, batch_first=True),
]
CELLS = [
    lambda: nn.RNNCell(3, 5),
    lambda: nn.RNNCell(3, 5, nonlinearity="relu"),
    lambda: nn.GRUCell(3, 5, bias=False),
    lambda: nn.LSTMCell(3, 5),
]


def made(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make()


def some(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("make", LAYERS + CELLS)
def test_family_passes_the_contract(make):
    dynamics = recurrent(made(make))
    check_dynamics(dynamics, some(8, dynamics.dim), drive=some(3, seed=1))
    check_dynamics(dynamics, some(8, dynamics.dim), drive=some(8, 3, seed=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", LAYERS)
def test_stepping_agrees_with_the_fused_module(make, dtype):
    module = made(make).to(dtype)
    dynamics = recurrent(module, dtype=dtype)
    inputs = some(2, 20, 3, seed=1, dtype=dtype)
    with torch.no_grad():
        fused = module(inputs if module.batch_first else inputs.transpose(0, 1))[0]
    fused = fused if module.batch_first else fused.transpose(0, 1)
    states = rollout(dynamics, torch.zeros(2, dynamics.dim), drives=inputs).states
    hidden = module.hidden_size
    last = slice(hidden * (module.num_layers - 1), hidden * module.num_layers)
    # 20 steps of a contracting layer: rounding of the dtype, with a factor for the order of sums
    assert abs(states[:, 1:, last] - fused.double().numpy()).max() < (1e-6 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("make", CELLS)
def test_cells_agree_with_torch(make):
    module = made(make).double()
    dynamics = recurrent(module)
    states, drive = some(4, dynamics.dim), some(4, 3, seed=1)
    with torch.no_grad():
        if isinstance(module, nn.LSTMCell):
            expected = torch.cat(module(drive, (states[:, :5].clone(), states[:, 5:].clone())), dim=1)
        else:
            expected = module(drive, states)
    assert (dynamics(states, drive) - expected).abs().max() < 1e-14


@pytest.mark.parametrize("make", LAYERS + CELLS)
def test_hand_written_slopes_equal_autograd(make):
    dynamics = recurrent(made(make))
    states, drive, tangents = some(4, dynamics.dim), some(4, 3, seed=1), some(4, dynamics.dim, 2, seed=2)
    by_autograd = _reverse(lambda x: dynamics(x, drive), states, dynamics.dim)
    assert (jacobian(dynamics, states, drive) - by_autograd).abs().max() < 1e-13
    after, carried = push(dynamics, states, tangents, drive)
    assert (after - dynamics(states, drive)).abs().max() < 1e-14
    assert (carried - by_autograd @ tangents).abs().max() < 1e-13
    assert drive_jacobian(dynamics, states, drive).shape == (4, dynamics.dim, 3)


def test_drive_jacobian_of_a_tanh_layer_is_gain_times_input_weights():
    module = made(lambda: nn.RNNCell(3, 5)).double()
    dynamics = recurrent(module)
    states, drive = some(2, 5), some(3, seed=1)
    gain = 1 - dynamics(states, drive) ** 2
    assert (drive_jacobian(dynamics, states, drive) - gain[..., None] * module.weight_ih.detach()).abs().max() < 1e-14


def test_iterated_map_has_the_product_of_slopes():
    dynamics = recurrent(made(lambda: nn.GRU(3, 5))).hold(some(3))
    states = some(4, 5)
    twice = dynamics.iterated(2)
    assert torch.equal(twice(states), dynamics(dynamics(states)))
    product = jacobian(dynamics, dynamics(states)) @ jacobian(dynamics, states)
    assert (jacobian(twice, states) - product).abs().max() < 1e-15
    assert (push(twice, states, torch.eye(5).double().expand(4, 5, 5))[1] - product).abs().max() < 1e-14


def test_replay_of_a_stacked_lstm():
    dynamics = recurrent(made(lambda: nn.LSTM(3, 4, num_layers=2)))
    trajectory = rollout(dynamics, some(3, dynamics.dim), drives=some(3, 12, 3, seed=1))
    assert check_replay(dynamics, trajectory) < 1e-14


def test_module_is_read_not_changed():
    module = made(lambda: nn.GRU(3, 4, num_layers=2, dropout=0.3)).train()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    dynamics = recurrent(module)
    check_dynamics(dynamics, some(4, dynamics.dim), drive=some(3))
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in module.state_dict().items())


def test_bidirectional_and_projected_layers_are_refused_with_the_reason():
    with pytest.raises(InputError, match="reads the future"):
        recurrent(nn.GRU(3, 4, bidirectional=True))
    with pytest.raises(InputError, match="proj_size=2"):
        recurrent(nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(InputError, match="Linear is not one of"):
        recurrent(nn.Linear(3, 3))


def test_lstm_box_traps_and_relu_box_exists_only_below_radius_one():
    lstm = recurrent(made(lambda: nn.LSTM(3, 4, num_layers=2)))
    assert lstm.box(some(3)) is not None
    weak = nn.RNN(2, 3, nonlinearity="relu")
    with torch.no_grad():
        weak.weight_hh_l0.copy_(0.3 * torch.ones(3, 3))  # radius 0.9
    drive = torch.ones(2, dtype=torch.float64)
    low, high = recurrent(weak).box(drive)
    after = recurrent(weak)(high[None], drive)
    assert (low == 0).all() and (after <= high).all()
    with torch.no_grad():
        weak.weight_hh_l0.copy_(0.4 * torch.ones(3, 3))  # radius 1.2
    assert recurrent(weak).box(drive) is None


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid", "softplus"])
def test_leaky_rate_network_follows_its_equation(nonlinearity):
    W, W_in, b, a = (
        some(6, 6),
        some(6, 2, seed=1),
        some(6, seed=2),
        torch.linspace(0.1, 1, 6, dtype=torch.float64),
    )
    dynamics = LeakyRate(W, W_in, b, a, nonlinearity, W_out=some(1, 6, seed=3)).dynamics()
    r, x = some(4, 6, seed=4), some(2, seed=5)
    phi = getattr(torch, nonlinearity, nn.functional.softplus)
    expected = (1 - a) * r + a * phi(r @ W.T + W_in @ x + b)
    assert (dynamics(r, x) - expected).abs().max() < 1e-14
    check_dynamics(dynamics, r, drive=x)
    assert dynamics.readout(r).shape == (4, 1)


def test_one_leaky_unit_decays_with_its_leak():
    dynamics = LeakyRate(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), torch.tensor(0.25)).dynamics()
    states = rollout(dynamics, [1.0], drives=torch.zeros(8, 1)).states[0, :, 0]
    assert states == pytest.approx([0.75**t for t in range(9)], abs=1e-15)


def test_a_rate_network_without_inputs_is_autonomous():
    W = some(3, 3)
    dynamics = LeakyRate(W, torch.zeros(3, 0), some(3, seed=1), torch.tensor(0.5)).dynamics()
    assert not dynamics.driven and dynamics.inputs == 0
    r = some(4, 3, seed=2)
    assert (dynamics(r) - (0.5 * r + 0.5 * torch.tanh(r @ W.T + some(3, seed=1)))).abs().max() < 1e-14
    check_dynamics(dynamics, r)


def test_dale_signs_columns_and_low_rank_has_its_rank():
    W = dale(some(4, 4), torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
    assert (W[:, [0, 1, 3]] >= 0).all() and (W[:, 2] <= 0).all()
    m, n = some(8, 2), some(8, 2, seed=1)
    assert torch.linalg.matrix_rank(low_rank(m, n)) == 2
    # eigenvalues of m n' / N are those of the overlap n' m / N
    leading = torch.linalg.eigvals(low_rank(m, n)).abs().sort(descending=True).values[:2]
    overlap = torch.linalg.eigvals(n.T @ m / 8).abs().sort(descending=True).values
    assert (leading - overlap).abs().max() < 1e-12
    with pytest.raises(InputError, match="excitatory"):
        dale(some(4, 4), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"one shape \(units, rank\)"):
        low_rank(m, n[:4])


def test_leaky_rate_refusals():
    good = {"W": torch.eye(2), "W_in": torch.eye(2), "b": torch.zeros(2), "leak": torch.tensor(0.5)}
    for change, message in [
        ({"leak": torch.tensor(0.0)}, "lies in"),
        ({"leak": torch.tensor(math.inf)}, "lies in"),
        ({"nonlinearity": "cosine"}, "one of tanh"),
        ({"W_in": torch.ones(3, 1)}, "W_in has shape"),
        ({"W_in": torch.ones(2)}, r"W_in has shape \(2,\); 2 units need \(2, inputs\)"),
        ({"W": torch.tensor(1.0)}, "W has shape"),
        ({"W_out": torch.ones(1, 3)}, "W_out has shape"),
        ({"W_out": torch.ones(1, 2), "b_out": torch.zeros(2)}, "b_out has shape"),
    ]:
        with pytest.raises(InputError, match=message):
            LeakyRate(**{**good, **change})
