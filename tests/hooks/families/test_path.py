import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import LeakyRate, PiecewiseLinear, recurrent
from hooks.families.path import along_drive, along_weights
from tests.known import linear

STATES = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
REST = torch.zeros(2, dtype=torch.float64)


def driven():
    return Dynamics(lambda x, u: torch.tanh(x + u.sum(-1, keepdim=True)), dim=3, driven=True, inputs=2, name="pushed")


def grus(count):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [nn.GRU(2, 3) for _ in range(count)]


def held(module):
    return recurrent(module).hold(REST)


def test_a_drive_moves_on_the_line_through_both_ends_and_beyond():
    family = along_drive(driven(), [1.0, 0.0], [1.0, 4.0])
    for p in (0.0, 0.25, 1.0, -2.0):
        there = driven().hold([1.0, 4.0 * p])
        assert (family(p)(STATES) - there(STATES)).abs().max() < 1e-15
    assert not family(0.3).driven
    check_dynamics(family(0.3), STATES)


def test_one_component_is_the_parameter_when_the_ends_differ_by_its_unit_vector():
    family = along_drive(driven(), [0.7, 0.0], [0.7, 1.0])
    assert (family(0.35)(STATES) - driven().hold([0.7, 0.35])(STATES)).abs().max() < 1e-15


def test_drives_without_a_path_between_them_are_refused():
    with pytest.raises(DrivenError, match="takes no drive vector"):
        along_drive(linear([[0.5]]), [0.0], [1.0])
    with pytest.raises(InputError, match="two drives of shape"):
        along_drive(driven(), [[0.0, 0.0]], [1.0, 0.0])
    with pytest.raises(InputError, match="has no length"):
        along_drive(driven(), [1.0, 0.0], [1.0, 0.0])


def test_weights_are_those_of_the_checkpoints_at_whole_numbers_and_their_mean_halfway():
    modules = grus(3)
    family = along_weights(modules, held)
    for p, module in enumerate(modules):
        assert torch.equal(family(float(p))(STATES), held(module)(STATES))
    mean = {
        name: (first.double() + modules[2].state_dict()[name].double()) / 2
        for name, first in modules[1].state_dict().items()
    }
    twin = nn.GRU(2, 3).double()
    twin.load_state_dict(mean)
    assert (family(1.5)(STATES) - held(twin)(STATES)).abs().max() < 1e-15
    check_dynamics(family(1.5), STATES)


def test_float32_weights_move_without_jumps():
    """A difference over 1e-9 is a thousand times below float32's spacing, and still the slope of the difference over 1e-3."""
    family = along_weights(grus(2), held)
    fine, coarse = ((family(0.5 + h)(STATES) - family(0.5 - h)(STATES)) / (2 * h) for h in (1e-9, 1e-3))
    assert (fine - coarse).abs().max() < 1e-5  # 1e-16 / 1e-9 of rounding, 1e-6 of curvature


def test_modules_stay_as_they_are_and_later_changes_of_them_are_not_seen():
    modules = grus(2)
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    family = along_weights(modules, held)
    at_start, halfway = family(0.0)(STATES), family(0.5)
    seen = halfway(STATES)
    family(0.9)
    assert torch.equal(halfway(STATES), seen)  # maps of other parameters do not move with it
    for module, weights in zip(modules, before, strict=True):
        assert module.weight_hh_l0.dtype == torch.float32
        assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    with torch.no_grad():
        modules[0].weight_hh_l0.zero_()
    assert torch.equal(family(0.0)(STATES), at_start)


def test_state_dicts_of_weights_that_are_no_module():
    rates = [{"W": w * torch.eye(1), "W_in": torch.ones(1, 1), "b": torch.zeros(1)} for w in (1.0, 3.0)]
    family = along_weights(rates, lambda w: LeakyRate(**w, leak=torch.tensor(0.5)).dynamics().hold([0.0]))
    x = torch.tensor([[0.3]], dtype=torch.float64)
    assert abs(family(0.25)(x) - (0.15 + 0.5 * torch.tanh(1.5 * x))).max() < 1e-15
    lines = [{"A": torch.tensor([a]), "W": torch.zeros(1, 1), "h": torch.ones(1)} for a in (0.0, 0.5)]
    assert along_weights(lines, lambda w: PiecewiseLinear(**w, relu=1).dynamics())(0.5)(x).item() == 0.25 * 0.3 + 1


def test_counters_are_those_of_the_nearest_checkpoint():
    seen = []
    stored = [{"W": torch.tensor([[float(n)]]), "batches": torch.tensor(n)} for n in (0, 10)]
    family = along_weights(stored, lambda w: seen.append(int(w["batches"])) or linear(w["W"]))
    assert family(0.25)(torch.ones(1, 1).double()).item() == 2.5
    family(0.75)
    assert seen == [0, 10]


def test_checkpoints_without_a_path_between_them_are_refused():
    family = along_weights(grus(3), held)
    for p in (-0.1, 2.1):
        with pytest.raises(InputError, match="3 checkpoints runs from 0 to 2"):
            family(p)
    with pytest.raises(InputError, match="two checkpoints at least, but 1 came"):
        along_weights(grus(1), held)
    with pytest.raises(InputError, match=r"checkpoints 0 and 1 .* differ in \['weight_hh_l0', 'weight_ih_l0'\]"):
        along_weights([nn.RNN(2, 3, bias=False), nn.RNN(2, 4, bias=False)], held)
