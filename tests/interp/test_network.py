import json

import numpy as np
import pytest
import torch
from torch import nn

import interp
from hooks.dynamics import Dynamics
from hooks.errors import InputError, LoadError
from hooks.families import LeakyRate, PiecewiseLinear, liquid, recurrent
from interp.network import Network, load
from tests.hooks.families.test_liquid import Cell, network


class Reader(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.rnn = nn.GRU(3, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 2)
        self.h0 = nn.Parameter(0.1 * torch.ones(hidden))


class Stepper(nn.Module):
    """A forward of (input, state) that is no torch layer."""

    input_size, hidden_size = 2, 3

    def __init__(self, gain=0.5):
        super().__init__()
        self.mix = nn.Linear(5, 3)
        self.gain = gain

    def forward(self, inputs, state):
        after = torch.tanh(self.gain * self.mix(torch.cat([inputs, state], -1)))
        return after.sum(-1, keepdim=True), after


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same_map(one: Dynamics, other: Dynamics):
    states, drive = some(5, one.dim), some(one.inputs, seed=1)
    assert one.dim == other.dim and one.inputs == other.inputs
    assert (one(states, drive) - other(states, drive)).abs().max() < 1e-14


LAYERS = [
    lambda: nn.GRU(3, 4, num_layers=2),
    lambda: nn.LSTM(3, 4, bias=False),
    lambda: nn.LSTMCell(3, 4),
    lambda: nn.GRUCell(3, 4),
]


@pytest.mark.parametrize("prefix", ["", "rnn.", "module.", "_orig_mod.model.rnn."])
@pytest.mark.parametrize("make", LAYERS)
def test_torch_layers_are_recognised_by_keys_and_shapes(tmp_path, make, prefix):
    module = seeded(make)
    path = tmp_path / "weights.pt"
    torch.save({f"{prefix}{key}": value for key, value in module.state_dict().items()}, path)
    assert_same_map(load(path).dynamics(), recurrent(module))


def test_a_plain_rnn_asks_for_its_nonlinearity():
    module = seeded(lambda: nn.RNN(3, 4, nonlinearity="relu"))
    with pytest.raises(LoadError, match=r"nonlinearity='tanh' or 'relu' \(--nonlinearity\)"):
        load(module.state_dict())
    assert_same_map(load(module.state_dict(), nonlinearity="relu").dynamics(), recurrent(module))
    assert_same_map(load(module).dynamics(), recurrent(module))  # the object says it


def test_readout_and_learned_initial_state_beside_the_layer_are_kept():
    module = seeded(Reader).double()
    for source in (module, module.state_dict(), {"state_dict": module.state_dict()}):
        network = load(source)
        dynamics = network.dynamics()
        states = some(5, 4)
        assert torch.equal(dynamics.readout(states), module.readout(states).detach())
        assert np.array_equal(network.initial_state, module.h0.detach())
    two = {**module.state_dict(), "fc.weight": torch.zeros(1, 4)}
    ambiguous = load(two)
    assert ambiguous.readout is None and "Several linear layers" in ambiguous.notes[0]


def test_leaky_rate_networks_by_several_names_and_their_constraints():
    W, W_in, b = some(4, 4), some(4, 2, seed=1), some(4, seed=2)
    expected = LeakyRate(W, W_in, b, torch.tensor(0.2), "tanh").dynamics()
    ours = {"W": W, "W_in": W_in, "b": b, "leak": torch.tensor(0.2)}
    for source in (ours, {"w_rec": W, "w_in": W_in, "bias": b, "alpha": torch.tensor(0.2)}):
        network = load(source)
        assert_same_map(network.dynamics(), expected)
        assert "tanh was assumed" in network.notes[0]
    split = {"h2h.weight": W, "h2h.bias": b / 2, "input2h.weight": W_in, "input2h.bias": b / 2}
    with pytest.raises(LoadError, match=r"pass leak= \(--leak\)"):
        load(split)
    assert_same_map(load(split, leak=0.2, nonlinearity="tanh").dynamics(), expected)
    signs = torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    constrained = load({**ours, "signs": signs}).module.W
    assert (constrained[:, 2] <= 0).all() and (constrained[:, [0, 1, 3]] >= 0).all()
    m, n = some(4, 1), some(4, 1, seed=5)
    ranked = load({"m": m, "n": n, "W_in": W_in, "leak": torch.tensor(0.2), "W_out": some(1, 4), "h0": b})
    assert torch.linalg.matrix_rank(ranked.module.W) == 1
    assert ranked.dynamics().readout(some(5, 4)).shape == (5, 1)
    assert np.array_equal(ranked.initial_state, b)


def test_almost_linear_rnn_asks_for_its_rectified_units():
    weights = {"A": 0.5 * torch.ones(4), "W": some(4, 4), "h": some(4, seed=1), "B": some(2, 4, seed=2)}
    with pytest.raises(LoadError, match=r"pass relu=P \(--relu P\)"):
        load(weights)
    with pytest.raises(LoadError, match="relu=5, but there are 4 units"):
        load(weights, relu=5)
    dynamics = load(weights, relu=2).dynamics()
    z = some(5, 4)
    rectified = torch.cat([z[:, :2], z[:, 2:].relu()], 1)
    assert (dynamics(z) - (0.5 * z + rectified @ weights["W"].T + weights["h"])).abs().max() < 1e-14
    matrix = {**weights, "A": torch.diag(weights["A"])}
    assert torch.equal(load(matrix, relu=2).dynamics()(z), dynamics(z))
    # Brenner et al.'s code: z1 = x1 B, and the observation is the identity on the first units
    assert torch.equal(dynamics.readout(z), z[:, :2])
    assert "the first 2 units are read out" in load(weights, relu=2).notes[0]
    with pytest.raises(LoadError, match=r"B is \(observed, 4\), but \(4, 2\) came"):
        load({**weights, "B": weights["B"].T}, relu=2)
    assert load({**weights, "C": some(4, 1)}, relu=2).notes[-1] == "Not read: C (4, 1)."
    with pytest.raises(LoadError, match="A is a full matrix"):
        load({**weights, "A": some(4, 4)}, relu=2)


def test_shallow_plrnn_is_read_as_an_almost_linear_one_with_the_same_orbits():
    A, W1, W2, h1, h2 = 0.5 * torch.ones(3), some(3, 5), some(5, 3, seed=1), some(3, seed=2), some(5, seed=3)
    z = some(1, 3, seed=4)
    weights = {"A": A.diag(), "W1": W1, "W2": W2, "h1": h1, "h2": h2, "h0": z[0]}
    network = load(weights)
    assert "3 units and 5 hidden ones" in network.notes[0]
    lifted = torch.as_tensor(network.initial_state)[None]
    for _ in range(5):  # Hess et al. (2023), eq. 3; products of the lift round at 1e-16, five steps of it below 1e-12
        z, lifted = A * z + (z @ W2.T + h2).relu() @ W1.T + h1, network.dynamics()(lifted)
        assert (network.dynamics().readout(lifted) - z).abs().max() < 1e-12
    with pytest.raises(LoadError, match="leave out relu"):
        load(weights, relu=2)
    with pytest.raises(LoadError, match="A is a full matrix"):
        load({**weights, "A": some(3, 3)})


def test_a_class_of_the_users_is_built_and_filled(tmp_path):
    module = seeded(lambda: Stepper(0.3))
    torch.save(module.state_dict(), tmp_path / "stepper.pt")
    network = load(tmp_path / "stepper.pt", model="tests.interp.test_network:Stepper", kwargs={"gain": 0.3})
    dynamics = network.dynamics()
    states, drive = some(5, 3), some(2, seed=1)
    expected = module.double()(drive.expand(5, 2), states)[1]
    assert (dynamics(states, drive) - expected).abs().max() < 1e-7  # weights were saved in float32
    for spec, kwargs, message in [
        ("Stepper", {}, "model is 'package.module:Class'"),
        ("no_such_package:Stepper", {}, "cannot be built: No module named"),
        ("tests.interp.test_network:Absent", {}, "cannot be built"),
        ("tests.interp.test_network:Stepper", {"size": 1}, "cannot be built.*unexpected keyword"),
        ("tests.interp.test_network:seeded", {"make": int}, "makes a int, not a torch module"),
        ("tests.interp.test_network:Reader", {}, "do not fit Reader: missing: .*unexpected: 'mix.bias'|missing: h0"),
    ]:
        with pytest.raises(LoadError, match=message):
            load(tmp_path / "stepper.pt", model=spec, kwargs=kwargs)


def test_whole_signs_make_a_network_obey_dale():
    given = {"W": some(2, 2), "W_in": some(2, 1), "leak": torch.tensor(0.5), "signs": torch.tensor([1, -1])}
    W = load(given, nonlinearity="relu").module.W
    assert (W[:, 0] >= 0).all() and (W[:, 1] <= 0).all()
    for signs in (torch.tensor([1, 0]), torch.tensor([1, -1, 1])):
        with pytest.raises(InputError, match="excitatory"):
            load({**given, "signs": signs}, nonlinearity="relu")


@pytest.mark.parametrize(
    ("source", "choices", "message"),
    [
        (lambda: nn.GRU(2, 3).state_dict(), {"relu": 2}, r"\(GRU\): leave out relu= \(--relu\)"),
        (lambda: nn.GRU(2, 3).state_dict(), {"nonlinearity": "relu"}, "leave out nonlinearity="),
        (lambda: nn.RNN(2, 3).state_dict(), {"nonlinearity": "relu", "leak": 0.1}, r"\(RNN\): leave out leak="),
        (lambda: {"W": torch.eye(2), "W_in": torch.ones(2, 1)}, {"leak": 0.1, "relu": 1}, "leaky rate network.*relu="),
        (
            lambda: {"A": torch.ones(2) / 2, "W": torch.zeros(2, 2), "h": torch.ones(2)},
            {"relu": 1, "leak": 0.1, "nonlinearity": "tanh"},
            r"almost-linear RNN\): leave out nonlinearity= \(--nonlinearity\), leak= \(--leak\)",
        ),
        (lambda: nn.GRU(2, 3), {"relu": 2}, "says all of this itself"),
        (lambda: Dynamics(lambda x, _: x, dim=1), {"leak": 0.5}, "says all of this itself"),
    ],
)
def test_a_choice_that_would_change_nothing_is_refused(source, choices, message):
    with pytest.raises(LoadError, match=message):
        load(source(), **choices)


def test_a_leak_that_replaces_the_one_in_the_file_is_said():
    given = {"W": some(2, 2), "W_in": some(2, 1), "alpha": torch.tensor(0.5)}
    network = load(given, leak=0.25, nonlinearity="tanh")
    assert float(network.module.leak) == 0.25 and network.notes == (
        "leak=0.25 was given and stands in place of 'alpha' in the file.",
    )


def test_a_built_class_takes_double_weights_and_a_shared_prefix(tmp_path):
    module = seeded(lambda: Stepper(0.3)).double()
    with torch.no_grad():
        module.mix.weight += 1e-12
    keys = {f"model._orig_mod.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": keys, "epoch": 1}, tmp_path / "last.ckpt")
    network = load(tmp_path / "last.ckpt", model="tests.interp.test_network:Stepper", kwargs={"gain": 0.3})
    states, drive = some(5, 3), some(2, seed=1)
    assert torch.equal(network.dynamics()(states, drive), module(drive.expand(5, 2), states)[1])
    with pytest.raises(LoadError, match=r"missing: mix.bias; unexpected: other"):
        load(
            {
                f"model.{key}": value
                for key, value in {"mix.weight": torch.zeros(3, 5), "other": torch.zeros(1)}.items()
            },
            model="tests.interp.test_network:Stepper",
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def Net():\n    raise ValueError('size must be\\nodd')\n", "cannot be built: size must be odd"),
        ("def Net(:\n", "cannot be built: invalid syntax"),
        ("def Net():\n    raise SystemExit(3)\n", "cannot be built: 3"),
    ],
)
def test_a_class_that_cannot_be_built_is_one_sentence(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    name = f"net_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(LoadError, match=message):
        load({"w": torch.zeros(1)}, model=f"{name}:Net")


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.1),
        nn.Dropout1d(0.1),
        nn.Dropout2d(0.1),
        nn.Dropout3d(0.1),
        nn.AlphaDropout(0.1),
        nn.FeatureAlphaDropout(0.1),
    ],
)
def test_every_kind_of_dropout_is_a_notice(layer):
    module = seeded(Reader)
    module.drop = layer
    assert load(module.train()).notes[0].startswith("Dropout is on")
    assert not load(module.eval()).notes[0].startswith("Dropout is on")


def test_keys_that_fit_nothing_are_listed_with_what_is_understood():
    with pytest.raises(LoadError, match=r"not recognised\. It holds foo \(2, 3\).*weight_ih_l0.*--model"):
        load({"foo": torch.zeros(2, 3)})
    short = seeded(lambda: nn.GRU(3, 4)).state_dict()
    del short["weight_ih_l0"]
    with pytest.raises(LoadError, match="do not fit GRU"):
        load(short)
    odd = {"weight_hh_l0": torch.zeros(10, 4), "weight_ih_l0": torch.zeros(10, 3)}
    with pytest.raises(LoadError, match="no RNN"):
        load(odd)
    with pytest.raises(LoadError, match="several recurrent layers"):
        load({f"{p}.{k}": v for p in ("enc", "dec") for k, v in seeded(lambda: nn.GRU(3, 4)).state_dict().items()})
    with pytest.raises(LoadError, match="reads the future"):
        load(nn.GRU(3, 4, bidirectional=True).state_dict())
    with pytest.raises(LoadError, match="proj_size"):
        load(nn.LSTM(3, 4, proj_size=2).state_dict())
    with pytest.raises(LoadError, match="holds a int, not a state dict"):
        load(7)


def test_bad_weights_in_a_module_are_refused_and_dropout_is_a_notice():
    module = seeded(lambda: nn.GRU(3, 4))
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = float("nan")
    with pytest.raises(LoadError, match="'weight_hh_l0' in GRU has 1 of 48 values"):
        load(module)
    noisy = seeded(lambda: nn.GRU(3, 4, num_layers=2, dropout=0.5)).train()
    network = load(noisy)
    assert network.notes == ("Dropout is on in the module that came; a copy in eval mode is analysed.",)
    assert noisy.training and noisy.dropout == 0.5 and all(p.requires_grad for p in noisy.parameters())
    assert load(noisy.eval()).notes == ()


def test_dynamics_of_a_source_is_driven_until_a_drive_is_held():
    module = seeded(lambda: nn.GRU(3, 4))
    driven = interp.dynamics(module)
    assert driven.driven and driven.inputs == 3 and driven.dtype == torch.float64
    held = interp.dynamics(module, drive=[1.0, 0.0, 0.0])
    assert not held.driven
    states = some(5, 4)
    assert torch.equal(held(states), driven(states, some(3) * 0 + torch.tensor([1.0, 0.0, 0.0])))
    with pytest.raises(InputError, match="drives 3 wide"):
        interp.dynamics(module, drive=[1.0])


def test_networks_and_values_pass_through_and_keep_their_fingerprint():
    module = seeded(lambda: nn.GRU(3, 4))
    network = load(module)
    assert load(network) is network
    assert network.fingerprint == load(module.state_dict()).fingerprint
    assert network.fingerprint != load(seeded(lambda: nn.GRU(3, 4, bias=False))).fingerprint
    linear = PiecewiseLinear(torch.ones(2) / 2, torch.zeros(2, 2), torch.zeros(2), 1)
    assert load(linear).dynamics().dim == 2
    step = Dynamics(lambda x, _: x / 2, dim=1)
    assert load(step).dynamics() is step
    with pytest.raises(LoadError, match="list is no network"):
        Network([1]).dynamics()


def test_kwargs_written_as_json_are_what_the_command_line_gives(tmp_path):
    module = seeded(lambda: Reader(6))
    torch.save(module.state_dict(), tmp_path / "reader.pt")
    network = load(tmp_path / "reader.pt", model="tests.interp.test_network:Reader", kwargs=json.loads('{"hidden": 6}'))
    assert_same_map(network.dynamics(), recurrent(module.rnn))


def test_a_network_that_ignores_its_state_is_reported(tmp_path):
    class Deaf(nn.Module):
        input_size, hidden_size = 2, 3

        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3))

        def forward(self, inputs, state):
            return self.bias.expand(len(inputs), 3)

    written = interp.report(Deaf(), out=tmp_path)
    assert "one stable fixed point of 1" in written.sentences[0] and written.failed == ()


class Wrapped(nn.Module):
    """A model around a liquid layer, as ncps's own examples write it."""

    def __init__(self, cell):
        super().__init__()
        self.rnn, self.fc = nn.Module(), nn.Linear(2, 1)
        self.rnn.rnn_cell, self.rnn.use_mixed = cell, False

    def forward(self, x, hx=None):
        return self.fc(x), hx


def test_a_liquid_cell_is_read_by_its_own_equations_and_its_clock_is_said():
    cell = Cell(network(), False)
    for source, inside in ((cell, ""), (Wrapped(cell), " 'rnn' inside Wrapped is analysed")):
        found = load(source)
        assert_same_map(found.dynamics(), liquid(cell))
        assert found.dynamics().dt == 1.0 and inside in " ".join(found.notes)
        assert "is read with a time of 1 between its steps; with another: interp.liquid(cell, dt=)" in found.notes[-1]
    own = network()
    assert load(own).fingerprint == own.dynamics().fingerprint


def test_a_vector_field_is_told_where_to_enter():
    class Field(nn.Linear):
        def forward(self, t, x):
            return super().forward(x)

    for field in (nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)), Field(2, 2)):
        with pytest.raises(LoadError, match=r"a neural ODE's, enters by interp.flow\(module, dim, dt=\)"):
            load(field).dynamics()
