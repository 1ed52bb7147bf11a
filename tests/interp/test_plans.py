import numpy as np
import pytest
import torch
from torch import nn

import interp
from analyses.maps.cycles import Cycles
from analyses.maps.fixed_points import FixedPoints
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.maps.transitions import Transitions
from analyses.symbols.exact_cycles import ExactCycles
from analyses.symbols.region_table import RegionTable
from hooks.dynamics import Dynamics
from hooks.errors import ContractError, InputError
from hooks.families import LeakyRate, PiecewiseLinear
from interp.driving import pulses_of
from interp.page import read
from interp.plans import memory_names, report


def of_kind(written, kind):
    return next((finding.result for finding in written.findings if isinstance(finding.result, kind)), None)


def latch(gain=2.0):
    """One tanh unit that remembers the sign of its last input."""
    rate = {"W": torch.tensor([[gain]]), "W_in": torch.tensor([[3.0]]), "b": torch.zeros(1), "leak": torch.tensor(1.0)}
    return LeakyRate(**rate, W_out=torch.tensor([[1.05]]))


def test_a_latch_keeps_a_sign_on_two_fixed_points_and_each_pulse_sets_it(tmp_path):
    written = report(latch(), out=tmp_path)
    points, table = of_kind(written, FixedPoints), of_kind(written, Transitions)
    assert len(points.points) == 3 and points.stable.sum() == 2
    assert abs(points.points).max() == pytest.approx(0.957504, abs=1e-6)  # x = tanh(2 x)
    assert set(table.memory_names) == {"+", "−"} and table.setting.all()
    up = table.memory_names.index("+")
    assert table.targets[:, table.pulse_names.index("+1 on 1")].tolist() == [up, up]
    assert written.sentences[0] == "Its memories are fixed points: 2 of 3 are stable, and no stable cycle was found."
    assert any("Every pulse sets a value" in sentence for sentence in written.sentences)
    assert written.failed == () and read(tmp_path).sentences == written.sentences
    assert "No inputs were given: the drive is held at zero" in written.provenance["notes"]


def test_negative_feedback_keeps_it_on_a_two_cycle(tmp_path):
    written = report(latch(-2.0), out=tmp_path)
    cycles = of_kind(written, Cycles)
    assert cycles.periods.tolist() == [2] and cycles.stable.all()
    assert written.sentences[0].startswith("Its memory is not a fixed point: of 1 fixed point none is stable.")
    assert "1 stable 2-cycle:" in written.sentences[0]


def boring():
    half = Dynamics(lambda x, _: x / 2, dim=2, name="contraction")
    drift = PiecewiseLinear(torch.ones(1), torch.zeros(1, 1), torch.ones(1), 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unit = nn.GRU(1, 1)
        stack = nn.LSTM(2, 3, num_layers=2)
    return {"contraction": (half, 1), "no fixed point": (drift, 0), "one unit": (unit, 1), "stacked LSTM": (stack, 1)}


@pytest.mark.parametrize("name", boring())
def test_boring_networks_are_reported_without_fuss(name, tmp_path):
    source, points = boring()[name]
    written = report(source, out=tmp_path)
    assert len(of_kind(written, FixedPoints).points) == points
    assert written.failed == () and len(written.sentences) >= 3
    assert written.path.stat().st_size < 2_000_000
    assert ("interp verify can prove nothing of it again" in written.provenance["notes"]) == (name == "contraction")
    if name == "no fixed point":
        assert written.sentences[0].startswith("No memory of this kind was found: no fixed point was reached")
        assert of_kind(written, LyapunovSpectrum).summary() == "0 of 32 starts stay bounded"
    else:
        held = "It" if name == "contraction" else "Under the held drive it"
        assert written.sentences[0].startswith(f"{held} keeps no memory: one stable fixed point of 1")


def test_weights_of_an_almost_linear_network_are_read_region_by_region(tmp_path):
    """z turns by 1/72 and grows by 1 % a step, u = z1 - 2 pulls it back: an unstable spiral whose turn no short word spans."""
    angle = 2 * np.pi / 72
    c, s = 1.01 * np.cos(angle), 1.01 * np.sin(angle)
    W = torch.tensor([[c, -s, -0.3], [s, c, 0.0], [c, -s, -0.3]])
    weights = {"A": torch.zeros(3), "W": W, "h": torch.tensor([0.0, 0.0, -2.0]), "B": torch.eye(3)[:2]}
    torch.save(weights, tmp_path / "weights.pt")
    written = report(tmp_path / "weights.pt", relu=1, out=tmp_path / "out")
    table, cycles = of_kind(written, RegionTable), of_kind(written, ExactCycles)
    assert table.visited == 2 and "unstable spiral, one turn in 72 steps" in table.roles
    assert cycles.complete and "takes 72 steps" in cycles.summary()
    page = written.path.read_text()
    assert "<td>unstable spiral, one turn in 72 steps</td>" in page
    assert "those that grow no more" in page and "Regions: 2 regions visited" in page


def test_inputs_drive_it_and_pulses_are_taken_from_them(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.choice([-2.0, 0.0, 2.0], p=[0.1, 0.8, 0.1], size=(5, 40, 1))
    written = report(latch(), inputs=inputs, out=tmp_path)
    assert of_kind(written, Transitions).pulse_names == ("+2 on 1", "-2 on 1")
    assert written.provenance["notes"].endswith("exponents are those with the drive at zero.")
    assert report(latch(), inputs=inputs[0], out=tmp_path).failed == ()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((5, 40, 2)), r"inputs have shape \(runs, steps, 1\) or \(steps, 1\), but \(5, 40, 2\) came"),
        (np.zeros(40), r"but \(40,\) came"),
        (np.zeros((5, 40, 1), dtype=int), r"but int64 came: convert with inputs.astype\(float\)"),
        (np.zeros((0, 40, 1)), r"the inputs are empty: shape \(0, 40, 1\)"),
        (np.zeros((5, 0, 1)), r"the inputs are empty"),
        (np.full((5, 40, 1), np.nan), "200 input values are not finite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_is_written(inputs, message, tmp_path):
    with pytest.raises(InputError, match=message):
        report(latch(), inputs=inputs, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Noisy(nn.Module):
    input_size, hidden_size = 1, 3

    def forward(self, inputs, state):
        return 0.5 * state + 0.1 * torch.randn_like(state)


class BatchStatistics(Noisy):
    def forward(self, inputs, state):
        return 0.5 * (state - state.mean(0))


@pytest.mark.parametrize(
    ("module", "message"),
    [(Noisy(), "the step is not deterministic"), (BatchStatistics(), "Batch statistics do this, in eval mode too")],
)
def test_a_step_that_is_no_map_is_refused_with_the_reason(module, message, tmp_path):
    with pytest.raises(ContractError, match=message):
        report(module, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_refusals(tmp_path):
    with pytest.raises(InputError, match="device 'nowhere' cannot be used"):
        report(latch(), device="nowhere", out=tmp_path)
    still = PiecewiseLinear(torch.ones(1) / 2, torch.zeros(1, 1), torch.zeros(1), 1)
    with pytest.raises(InputError, match="takes no inputs"):
        report(still, inputs=np.zeros((2, 3, 1)), out=tmp_path)


def test_the_users_module_comes_back_unchanged(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.LSTM(1, 3, num_layers=2, dropout=0.5).train()
    module.register_forward_hook(lambda *_: None)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    hooks, generator = dict(module._forward_hooks), torch.get_rng_state()
    written = interp.report(module, out=tmp_path)
    assert "Dropout is on in the module that came; a copy in eval mode is analysed." in written.provenance["notes"]
    assert module.training and module.dropout == 0.5 and dict(module._forward_hooks) == hooks
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_equal_calls_give_equal_numbers_and_a_budget_gives_fewer(tmp_path):
    numbers = []
    for name in ("a", "b"):
        report(latch(), out=tmp_path / name, seed=3)
        numbers.append(
            [{**vars(f), "seconds": 0, "result": f.result.to_dict()} for f in read(tmp_path / name).findings]
        )
    assert numbers[0] == numbers[1]
    hurried = report(latch(), out=tmp_path / "c", budget=0.5)
    assert hurried.path.exists()


def test_pulses_are_the_few_values_that_occur_or_the_extremes():
    rest = np.zeros(2)
    few = np.zeros((1, 4, 2))
    few[0, :, 0] = [0, 1, -1, 0]
    few[0, :, 1] = [0, 5, 5, 0]
    assert list(pulses_of(few, rest)) == ["+1 on 1", "-1 on 1", "+5 on 2"]
    many = np.linspace(-3, 3, 40).reshape(1, 20, 2)
    assert len(pulses_of(many, rest)) == 4
    assert list(pulses_of(None, rest)) == ["+1 on 1", "-1 on 1", "+1 on 2", "-1 on 2"]
    assert len(pulses_of(None, np.zeros(1000))) == 16


def test_memories_are_named_by_what_the_readout_says_when_that_tells_them_apart():
    def reading(function):
        return Dynamics(lambda x, _: x, dim=1, readout=function)

    memories = [np.array([[1.02]]), np.array([[-0.97]])]
    assert memory_names(reading(lambda x: x), memories) == ("+", "−")
    assert memory_names(reading(lambda x: 3 * x), memories) == ("+3", "-3")
    assert memory_names(reading(lambda x: 0 * x), memories) == ("M1", "M2")
    assert memory_names(Dynamics(lambda x, _: x, dim=1), memories) == ("M1", "M2")
