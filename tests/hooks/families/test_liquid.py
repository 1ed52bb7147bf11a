import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.enclosure import enclose
from hooks.errors import InputError
from hooks.families import LiquidTimeConstant, adaptive, is_liquid, liquid, rebuilt
from hooks.families.closed_form import closed_form
from hooks.tangent import jacobian


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(units=4, inputs=2, seed=0, **settings):
    """A random LTC network with half of its synapses."""
    synapses = {}
    for kind, senders in (("", units), ("sensory_", inputs)):
        synapses |= {
            f"{kind}w": uniform(senders, units, seed=seed) * (uniform(senders, units, seed=seed + 1) > 0.5),
            f"{kind}mu": uniform(senders, units, seed=seed + 2),
            f"{kind}sigma": 3 + 3 * uniform(senders, units, seed=seed + 3),
            f"{kind}erev": some(senders, units, seed=seed + 4).sign(),
        }
    cm, gleak = 0.4 + uniform(units, seed=seed + 5), 0.1 + uniform(units, seed=seed + 6)
    return LiquidTimeConstant(**synapses, cm=cm, gleak=gleak, vleak=some(units, seed=seed + 7) / 5, **settings)


def velocity(cell):
    """dv/dt of Hasani et al. (2021) for sigmoid synapses, written out."""

    def field(v, u):
        total = (cell.gleak * (cell.vleak - v)).clone()
        for kind, sent in (("", v), ("sensory_", u.expand(len(v), -1))):
            w, mu, sigma, erev = (getattr(cell, f"{kind}{name}") for name in ("w", "mu", "sigma", "erev"))
            total = total + (w * torch.sigmoid(sigma * (sent[:, :, None] - mu)) * (erev - v[:, None, :])).sum(1)
        return total / cell.cm

    return field


def test_one_unit_under_a_constant_input_relaxes_with_the_papers_time_constant():
    # no synapse among units: v - v* shrinks by 1 / (1 + h / tau_sys) a substep, tau_sys = tau / (1 + tau f), exactly
    one = torch.ones(1, 1).double()
    w, mu, sigma, erev, cm, gleak, vleak = 0.7, 0.3, 4.0, -1.5, 0.5, 0.2, 0.1
    u, dt, start = 0.45, 0.8, 2.0
    s = 1 / (1 + math.exp(-sigma * (u - mu)))
    tau, f = cm / gleak, w * s / cm
    tau_sys = tau / (1 + tau * f)
    rest = (gleak * vleak + w * s * erev) / (gleak + w * s)
    for unfolds in (1, 6, 4000):
        cell = LiquidTimeConstant(
            *(0 * one, one, one, one), *(one * value for value in (w, mu, sigma, erev)),
            *(one[0] * value for value in (cm, gleak, vleak)), unfolds=unfolds, epsilon=0.0,
        )  # fmt: skip
        dynamics = cell.dynamics(dt=dt).hold([u])
        after = dynamics(start * one).item()
        assert after == pytest.approx(rest + (start - rest) * (1 + dt / unfolds / tau_sys) ** -unfolds, abs=1e-12)
        assert jacobian(dynamics, one).item() == pytest.approx((1 + dt / unfolds / tau_sys) ** -unfolds, abs=1e-12)
        assert cell.time_constants(one, torch.tensor([u], dtype=torch.float64)).item() == pytest.approx(
            tau_sys, abs=1e-15
        )
    # many substeps: exp(-dt / tau_sys), off by (dt / tau_sys)^2 / 2 unfolds of it
    assert after == pytest.approx(rest + (start - rest) * math.exp(-dt / tau_sys), abs=1e-3)


def test_the_fused_solver_tends_to_the_papers_equation_at_first_order():
    u, v = torch.tensor([0.2, -0.4]).double(), some(5, 4)
    exact = adaptive(velocity(network()), 4, dt=0.5, inputs=2, rtol=1e-11, atol=1e-12)(v, u)
    errors = [(network(unfolds=n, epsilon=0.0).dynamics(dt=0.5)(v, u) - exact).norm().item() for n in (64, 128)]
    # halving the substep halves the error, to a few per cent at this width
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.05)


def test_time_constants_and_states_stay_within_the_bounds_of_theorems_1_and_2():
    cell = network(units=6)
    dynamics = cell.dynamics(dt=0.3)
    low, high = dynamics.box(None)
    drives = 3 * some(200, 2, seed=9)
    run = rollout(dynamics, low + (high - low) * uniform(8, 6), drives=drives)
    states = torch.tensor(run.states[:, :-1]).flatten(0, 1)
    assert ((states >= low - 1e-12) & (states <= high + 1e-12)).all()
    taus = cell.time_constants(states, drives.expand(8, -1, -1).flatten(0, 1))
    slowest, fastest = cell.cm / cell.gleak, cell.cm / (cell.gleak + cell.w.sum(0) + cell.sensory_w.sum(0))
    assert ((taus >= fastest) & (taus <= slowest)).all() and taus.std(0).min() > 1e-3
    assert network().dynamics().box is not None
    negative = network(units=1, inputs=1)
    assert LiquidTimeConstant(**{**vars(negative), "gleak": -negative.gleak}).dynamics().box(None) is None


def head(units, entering, seed):
    return {"weight": some(units, entering, seed=seed), "bias": some(units, seed=seed + 1)}


def closed(mode="default", units=3, inputs=2, common=0, activation="LeCun", dt=1.0, cells=1):
    tensors = {}
    for k in range(cells):
        wide = (units if k else inputs) + units
        own = {"backbone.0": head(5, wide, 20 + k), "backbone.1": head(4, 5, 30 + k)} if common else {}
        entering = 4 if common else wide
        own |= {
            name: head(units, entering, 40 + 5 * k + j) for j, name in enumerate(("ff1", "ff2", "time_a", "time_b"))
        }
        tensors |= {f"layers.{k}.{part}.{name}": value for part, both in own.items() for name, value in both.items()}
        tensors |= {f"layers.{k}.w_tau": some(1, units, seed=7), f"layers.{k}.A": some(1, units, seed=8)}
    return closed_form(tensors, mode=mode, activation=activation if common else "", dt=dt)


MAPS = {
    "LTC": lambda: network().dynamics(dt=0.7),
    "default": closed,
    "no gate": lambda: closed("no_gate", common=2),
    "pure": lambda: closed("pure", dt=0.4),
    "wired": lambda: closed(cells=3),
    "silu": lambda: closed(common=2, activation="SiLU"),
}


@pytest.mark.parametrize("name", MAPS)
def test_every_liquid_map_keeps_the_contract_its_weights_and_its_proofs(name):
    dynamics = MAPS[name]()
    states, drives = some(8, dynamics.dim), some(8, 2, seed=1)
    check_dynamics(dynamics, states, drive=drives)
    check_dynamics(dynamics, states, drive=drives[0])
    held = dynamics.hold(drives[0])
    again = rebuilt(held.weights)
    assert again.fingerprint == held.fingerprint and torch.equal(again(states), held(states)) and again.dt == held.dt
    radius = torch.full_like(states, 0.05)
    bound = enclose(held, states, radius)
    corners = states + radius * (2 * uniform(8, dynamics.dim, seed=2).round() - 1)
    assert ((held(corners) - bound.value.mid).abs() <= bound.value.rad).all()
    assert ((jacobian(held, corners) - bound.slope.mid).abs() <= bound.slope.rad).all()
    found = find_fixed_points(replace(held, box=None), states)  # without a box no further starts are drawn in it
    assert len(found.points) and certify(held, found.points).proved.all()


def test_a_closed_form_cell_gives_the_papers_answer_at_every_time():
    # all weights zero: heads are their biases, so the state after t is a function of t alone
    for t in (0.1, 1.0, 3.0):
        tensors = {f"layers.0.{name}.weight": torch.zeros(1, 3) for name in ("ff1", "ff2", "time_a", "time_b")}
        tensors |= {f"layers.0.{name}.bias": torch.tensor([value], dtype=torch.float64) for name, value in
                    (("ff1", 0.3), ("ff2", -0.8), ("time_a", 1.2), ("time_b", -0.4))}  # fmt: skip
        share, g, h = 1 / (1 + math.exp(-(1.2 * t - 0.4))), math.tanh(0.3), math.tanh(-0.8)
        x, u = some(4, 1), torch.ones(2).double()
        assert (closed_form(tensors, dt=t)(x, u) - (g * (1 - share) + h * share)).abs().max() < 1e-15
        assert (closed_form(tensors, mode="no_gate", dt=t)(x, u) - (g + h * share)).abs().max() < 1e-15
        tensors |= {
            "layers.0.w_tau": torch.tensor([[-0.5]], dtype=torch.float64),
            "layers.0.A": torch.tensor([[2.0]]).double(),
        }
        pure = closed_form(tensors, mode="pure", dt=t)(x, u)
        assert (pure - (2 - 2 * math.exp(-t * (0.5 + 0.3)) * 0.3)).abs().max() < 1e-15


class Cell(nn.Module):
    """The parameters and settings of an LTC cell of ncps, without its forward."""

    def __init__(self, cell, positive):
        super().__init__()
        self._implicit_param_constraints, self._ode_unfolds, self._epsilon = positive, 3, 0.0
        self.motor_size, self.hidden_size = 2, len(cell.cm)
        for name, value in vars(cell).items():
            if isinstance(value, torch.Tensor):
                self.register_parameter(name, nn.Parameter(value.float()))
        for kind in ("", "sensory_"):
            mask = (uniform(*getattr(cell, f"{kind}w").shape, seed=3) > 0.3).float()
            self.register_parameter(f"{kind}sparsity_mask", nn.Parameter(mask))


def test_a_cell_is_read_by_its_parameters_masks_and_signs_and_stays_as_it_was():
    for positive in (False, True):
        cell = Cell(network(), positive)
        kept = copy.deepcopy(cell.state_dict())
        dynamics = liquid(cell, dt=0.5)
        own = {name: value.double() for name, value in kept.items() if not name.endswith("mask")}
        if positive:
            own |= {name: nn.functional.softplus(own[name]) for name in ("w", "sensory_w", "cm", "gleak")}
        own |= {f"{kind}w": own[f"{kind}w"] * kept[f"{kind}sparsity_mask"] for kind in ("", "sensory_")}
        expected = LiquidTimeConstant(**own, unfolds=3, epsilon=0.0).dynamics(dt=0.5)
        x, u = some(5, 4), some(5, 2)
        assert torch.equal(dynamics(x, u), expected(x, u)) and dynamics.dt == 0.5
        assert torch.equal(dynamics.readout(x), x[:, :2])
        assert all(torch.equal(value, kept[name]) for name, value in cell.state_dict().items())
    assert not is_liquid(nn.GRU(2, 3)) and not is_liquid(nn.Linear(2, 2))


def test_what_is_no_liquid_cell_is_refused():
    with pytest.raises(InputError, match="GRU is no liquid cell: it has neither an LTC's parameters nor a CfC's"):
        liquid(nn.GRU(2, 3))
    with pytest.raises(InputError, match="dt is a positive time, but -1"):
        network().dynamics(dt=-1.0)
    with pytest.raises(InputError, match=r"mu has shape \(2, 2\); 4 units and 2 inputs need \(4, 4\)"):
        LiquidTimeConstant(**{**vars(network()), "mu": torch.ones(2, 2)})
    with pytest.raises(InputError, match="at least one substep, but unfolds = 0"):
        network(unfolds=0)
    with pytest.raises(InputError, match="mode 'fast' with activation '' is no closed-form cell"):
        closed("fast")
    mixed = nn.Module()
    mixed.use_mixed, mixed.rnn_cell = True, Cell(network(), False)
    with pytest.raises(InputError, match="has mixed memory: its step is an LSTM's and then the cell's"):
        liquid(mixed)


def ncps_layers():
    torch_part, wirings = pytest.importorskip("ncps.torch"), pytest.importorskip("ncps.wirings")
    LTC, CfC = torch_part.LTC, torch_part.CfC
    yield LTC(3, wirings.AutoNCP(12, 3))
    yield LTC(2, 8, implicit_param_constraints=False, input_mapping="linear", output_mapping=None)
    yield LTC(2, wirings.Random(9, 2, sparsity_level=0.5), ode_unfolds=3, epsilon=1e-3)
    yield CfC(3, 6)
    yield CfC(3, 6, mode="no_gate", backbone_layers=2, activation="silu", proj_size=2)
    yield CfC(3, 6, mode="pure", backbone_units=5, activation="gelu")
    yield CfC(3, wirings.AutoNCP(14, 2), proj_size=3)
    yield CfC(2, 5, backbone_layers=0)


def test_the_step_is_the_forward_of_ncps_at_any_elapsed_time():
    pytest.importorskip("ncps.torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = list(ncps_layers())
        for layer in layers:
            with torch.no_grad():  # biases start at zero or one
                for name, value in layer.named_parameters():
                    if (value.requires_grad and value.ndim < 2) or name.endswith(("w_tau", "A")):
                        value.add_(0.1 * torch.rand_like(value))
    for layer in layers:
        twin = copy.deepcopy(layer).double()
        for dt in (1.0, 0.3):
            for own in (layer, layer.rnn_cell):
                dynamics = liquid(own, dt=dt)
                x, u = some(7, dynamics.dim), some(7, dynamics.inputs, seed=1)
                with torch.no_grad():
                    said, after = twin(u[:, None], x, timespans=torch.tensor([[dt]], dtype=torch.float64))
                # sums in another order: rounding of a few hundred terms of size 1
                assert (dynamics(x, u) - after).abs().max() < 1e-12
            check_dynamics(dynamics, x, drive=u)
            assert (liquid(layer, dt=dt).readout(after) - said[:, 0]).abs().max() < 1e-12
            assert torch.equal(rebuilt(dynamics.weights)(x, u), dynamics(x, u))
        assert next(layer.parameters()).dtype == torch.float32 and layer.training
