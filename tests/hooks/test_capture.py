import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from hooks.capture import capture, sites
from hooks.contract import check_replay
from hooks.errors import CaptureError
from hooks.families import recurrent

LAYERS = [
    lambda: nn.RNN(3, 5),
    lambda: nn.RNN(3, 5, nonlinearity="relu", num_layers=2, bias=False),
    lambda: nn.GRU(3, 5, batch_first=True),
    lambda: nn.GRU(3, 5, num_layers=3),
    lambda: nn.LSTM(3, 5),
    lambda: nn.LSTM(3, 5, num_layers=2, batch_first=True),
]


def made(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make()


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs_for(module, runs=4, steps=7):
    return some(runs, steps, 3) if module.batch_first else some(steps, runs, 3)


def snapshot(module):
    return {
        "hooks": [
            (path, dict(part._forward_hooks), dict(part._forward_pre_hooks)) for path, part in module.named_modules()
        ],
        "flags": [part.training for part in module.modules()] + [p.requires_grad for p in module.parameters()],
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
    }


def assert_unchanged(module, before):
    after = snapshot(module)
    assert after["hooks"] == before["hooks"] and after["flags"] == before["flags"]
    assert all(torch.equal(after["weights"][name], value) for name, value in before["weights"].items())


@pytest.mark.parametrize("make", LAYERS)
def test_captured_states_replay_under_the_family_map(make):
    module = made(make)
    with capture(module, "*") as tape:
        module(inputs_for(module))
    trajectory = tape.trajectory()
    assert trajectory.states.shape[:2] == (4, 8) and trajectory.drives.shape == (4, 7, 3)
    # the module runs in float32: a step agrees to a few of its eps
    assert check_replay(recurrent(module), trajectory, tolerance=1e-6) < 1e-6


def test_places_name_either_side_of_a_submodule_and_keep_says_how_much_of_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    before, x = snapshot(model), some(5, 3)
    places = {"entering": ("0", "in"), "between": ("1", "in"), "said": ("1", "out")}
    with capture(model, "*", places=places) as tape:
        after = model(x)
    assert torch.equal(tape["entering"], x) and torch.equal(tape["said"], after) and tape["said"] is not after
    assert torch.equal(tape["between"].tanh(), after)
    with capture(model, ["said"], places=places, keep=lambda values: values[:2].half()) as tape:
        model(x)
    assert tape.keys() == ("said",) and tape["said"].shape == (2, 4) and tape["said"].dtype == torch.float16
    with (
        pytest.raises(CaptureError, match="no site '0'; the nearest: 'entering', 'between', 'said'"),
        capture(model, "0", places=places),
    ):
        pass
    assert_unchanged(model, before)


def test_gates_of_a_gru_are_those_of_its_cell_stepped_by_hand():
    module = made(lambda: nn.GRU(3, 5, batch_first=True)).double()
    inputs = inputs_for(module).double()
    with capture(module, ["layers.0.*"]) as tape:
        module(inputs)
    W_x, W_h, b_x, b_h = (w.detach() for w in module.all_weights[0])
    h = torch.zeros(4, 5, dtype=torch.float64)
    for t in range(7):
        a, b = inputs[:, t] @ W_x.T + b_x, h @ W_h.T + b_h
        r, z = torch.sigmoid(a[:, :5] + b[:, :5]), torch.sigmoid(a[:, 5:10] + b[:, 5:10])
        n = torch.tanh(a[:, 10:] + r * b[:, 10:])
        h = (1 - z) * n + z * h
        for name, value in (("reset", r), ("update", z), ("candidate", n), ("h", h)):
            assert (tape[f"layers.0.{name}"][:, t] - value).abs().max() < 1e-14  # rounding of sums of 8


def test_cell_state_and_gates_of_every_lstm_layer_end_on_what_the_module_returns():
    module = made(lambda: nn.LSTM(3, 5, num_layers=2)).double()
    start = (some(2, 4, 5, seed=1).double(), some(2, 4, 5, seed=2).double())
    with capture(module, "layers.*") as tape:
        output, (h, c) = module(inputs_for(module).double(), start)
    assert torch.equal(tape["layers.1.h"], output.transpose(0, 1).detach())
    for k in range(2):
        assert (tape[f"layers.{k}.h"][:, -1] - h[k]).abs().max() < 1e-14
        assert (tape[f"layers.{k}.c"][:, -1] - c[k]).abs().max() < 1e-14
        said = tape[f"layers.{k}.output"] * tape[f"layers.{k}.c"].tanh()
        assert (said - tape[f"layers.{k}.h"]).abs().max() < 1e-14
    assert np.array_equal(tape.trajectory().states[:, 0, 10:15], start[1][0])


@pytest.mark.parametrize("make", [lambda: nn.RNNCell(3, 5), lambda: nn.GRUCell(3, 5), lambda: nn.LSTMCell(3, 5)])
def test_calls_of_a_cell_follow_each_other_in_time(make):
    module, inputs = nn.ModuleDict({"cell": made(make)}), some(4, 6, 3)
    with capture(module, "cell.layers.0.*") as tape, torch.no_grad():
        state = None
        for t in range(6):
            state = module["cell"](inputs[:, t], state)
    assert tape["cell.layers.0.h"].shape == (4, 6, 5)
    trajectory = tape.trajectory("cell")
    assert np.array_equal(trajectory.drives, inputs.double())
    assert check_replay(recurrent(module["cell"]), trajectory, tolerance=1e-6) < 1e-6
    with capture(module, "cell.layers.0.*") as tape:
        module["cell"](inputs[:, 0])
        module["cell"](inputs[:, 1])  # from zero again: not one run
    with pytest.raises(CaptureError, match="call 2 of 'cell' does not start from the state"):
        tape.trajectory("cell")


def test_packed_sequences_end_in_nan_and_keep_their_order():
    module = made(lambda: nn.GRU(3, 5, num_layers=2, batch_first=True))
    inputs, lengths = some(3, 6, 3), torch.tensor([2, 6, 4])
    with capture(module, "*") as tape:
        module(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
    trajectory = tape.trajectory()
    assert trajectory.lengths.tolist() == [3, 7, 5]
    assert tape["layers.0.update"][0, 2:].isnan().all() and tape["layers.0.update"][1].isfinite().all()
    alone = module(inputs[:1, :2])[0]
    assert (tape["layers.1.h"][:1, :2] - alone).abs().max() < 1e-6  # float32
    assert check_replay(recurrent(module), trajectory, tolerance=1e-6) < 1e-6


def test_an_unbatched_run_and_several_calls_are_runs():
    module = made(lambda: nn.GRU(3, 5))
    with capture(module, "layers.0.update") as tape:
        module(some(7, 3))
        module(some(7, 2, 3))
    assert tape["layers.0.update"].shape == (3, 7, 5)
    with capture(module, "layers.0.update") as tape:
        module(some(7, 3))
        module(some(6, 3))
    assert [len(call[0]) for call in tape.calls("layers.0.update")] == [7, 6]
    with pytest.raises(CaptureError, match=r"cannot be joined: take them one by one with tape\.calls"):
        tape["layers.0.update"]


def test_outputs_of_any_submodule_by_name_wildcard_and_function():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    inputs = some(5, 3)
    with capture(model, ["0", "2"]) as tape:
        output = model(inputs)
    assert torch.equal(tape["2"], output.detach())
    assert (tape["0"] < 0).any()  # a copy: the ReLU after it worked in place
    with capture(model, lambda name: name == "1") as tape:
        model(inputs)
    assert list(tape) == ["1"] and len(tape) == 1 and "0" not in tape
    assert sites(model) == ("0", "1", "2")


def test_module_is_left_as_it_came_also_after_an_exception_inside():
    model = nn.ModuleDict({"rnn": made(lambda: nn.LSTM(3, 5, num_layers=2)), "readout": nn.Linear(5, 1)}).train()
    model["rnn"].register_forward_hook(lambda *_: None)
    model["readout"].weight.requires_grad_(False)
    before, generator = snapshot(model), torch.get_rng_state()

    def interrupted():
        with capture(model, "*"):
            model["rnn"](some(7, 4, 3))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert_unchanged(model, before)
    assert torch.equal(torch.get_rng_state(), generator)
    with capture(model, "rnn*") as tape:
        model["rnn"](some(7, 4, 3))[0].sum().backward()
    assert_unchanged(model, before)
    assert not any(value.requires_grad for value in dict(tape).values())
    assert model["rnn"].weight_hh_l0.grad.abs().sum() > 0  # the user's own backward goes through


def test_refusals_say_what_came_and_what_to_do():
    gru = made(lambda: nn.GRU(3, 4))
    for names, message in [
        ("layers.0.updat", r"no site 'layers.0.updat'; the nearest: 'layers.0.update'"),
        ([], "no names were given"),
        (lambda name: False, "the function chose none of the 4 sites"),
    ]:
        with pytest.raises(CaptureError, match=message), capture(gru, names):
            pass
    with pytest.raises(CaptureError, match="these sites never ran: 'layers"), capture(gru, "layers.0.h"):
        pass
    with pytest.raises(CaptureError, match="reads the future"), capture(nn.GRU(3, 4, bidirectional=True), "layers.*"):
        pass
    with pytest.raises(CaptureError, match="proj_size=2"), capture(nn.LSTM(3, 4, proj_size=2), "layers.*"):
        pass
    stacked = nn.GRU(3, 4, num_layers=2, dropout=0.5).train()
    with pytest.raises(CaptureError, match="dropout between the layers"), capture(stacked, "*"):
        stacked(some(7, 2, 3))
    altered = made(lambda: nn.GRU(3, 4))
    altered.register_forward_hook(lambda module, args, output: (output[0] + 1, output[1]))
    with pytest.raises(CaptureError, match="another hook changes the output"), capture(altered, "layers.*"):
        altered(some(7, 2, 3))
    with capture(gru, "layers.0.update") as tape:
        gru(some(7, 2, 3))
    with pytest.raises(CaptureError, match="needs h, and c of an LSTM"):
        tape.trajectory()
    with pytest.raises(CaptureError, match="no recurrent layer 'rnn' on the tape"):
        tape.trajectory("rnn")
    with pytest.raises(CaptureError, match="nothing was captured at 'layers"):
        tape["layers.0.h"]


@pytest.mark.filterwarnings("ignore")  # transformers' own, on import
def test_sites_of_a_transformer_bridge_hold_the_residual_stream_of_the_model_beneath():
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, n_positions=8, vocab_size=20)).eval()
        tokens = torch.randint(20, (3, 7))
    with torch.no_grad():
        streams = model(tokens, output_hidden_states=True).hidden_states
        bridge = build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=model.config)
        with capture(bridge, ["blocks.0.hook_in", "blocks.1.hook_in"]) as tape:
            bridge(tokens)
    for block in (0, 1):
        assert (tape[f"blocks.{block}.hook_in"] - streams[block]).abs().max() < 1e-6  # float32 rounding
