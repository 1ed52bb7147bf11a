"""The bridge to dysts, on a package of its layout written here; and, where dysts is, our ten systems against its own."""

import importlib.util
import json
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch

from case_studies._dysts import dysts_system
from case_studies._systems import SYSTEMS
from case_studies.chaotic_systems import STORED
from hooks.contract import check_dynamics
from hooks.errors import InputError
from hooks.tangent import jacobian

FLOWS = """
import numpy as np
from .base import DynSys, DynSysDelay, staticjit

class Lorenz(DynSys):
    @staticjit
    def _rhs(x, y, z, t, beta, rho, sigma):
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

class Heir(Lorenz):
    pass

class Kicked(DynSys):
    @staticjit
    def _rhs(x, y, t, k):
        return np.heaviside(x, 0.5) * np.sin(y) - np.sqrt(k) * x, np.pi

class Ring(DynSys):
    def rhs(self, X, t):
        Xdot = np.zeros_like(X)
        Xdot[0] = self.w[0] * X[-1]
        Xdot[1:] = X[:-1]
        return Xdot

class Timed(DynSys):
    @staticjit
    def _rhs(x, t):
        return (np.cos(t) - x,)

class Mixing(DynSys):
    @staticjit
    def _rhs(x, t):
        return (x - np.mean(x),)

class Branching(DynSys):
    @staticjit
    def _rhs(x, t):
        return (x if x > 0 else -x,)
"""


def entry(start, parameters, delay=False):
    return {
        "parameters": parameters,
        "initial_conditions": start,
        "period": 1.28,
        "delay": delay,
        "embedding_dimension": 10,
    }


TABLE = {
    "Lorenz": entry([1.0, 2.0, 20.0], {"sigma": 10, "rho": 28, "beta": 8 / 3}),
    "Heir": entry([1.0, 2.0, 20.0], {"sigma": 10, "rho": 28, "beta": 8 / 3}),
    "Kicked": entry([0.3, 1.0], {"k": 4}),
    "Ring": entry([1.0, 2.0, 3.0], {"w": [2.0, 7.0]}),
    "Timed": entry([1.0], {}),
    "Mixing": entry([1.0], {}),
    "Branching": entry([1.0], {}),
    "Delayed": entry([1.0] * 10, {}, delay=True),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "dysts" / "data").mkdir(parents=True)
    (tmp_path / "dysts" / "__init__.py").write_text("")
    (tmp_path / "dysts" / "flows.py").write_text(FLOWS)
    (tmp_path / "dysts" / "data" / "chaotic_attractors.json").write_text(json.dumps(TABLE))
    monkeypatch.delitem(sys.modules, "dysts", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("dysts", None)


def test_a_flow_is_the_one_that_its_equations_are(package):
    states = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double() + torch.tensor([1.0, 2.0, 20.0])
    ours = SYSTEMS["Lorenz63"].make(dt=0.005)
    for name in ("Lorenz", "Heir"):
        found, start = dysts_system(name)
        assert start == (1.0, 2.0, 20.0) and found.dt == 0.005 and found.name == name
        check_dynamics(found, states)
        # the same scheme on the same field: rounding
        assert torch.allclose(found(states), ours(states), rtol=1e-13, atol=1e-13)
        assert torch.allclose(jacobian(found, states), jacobian(ours, states), rtol=1e-12, atol=1e-12)
    other, _ = dysts_system("Lorenz", dt=0.01, rho=30.0)
    assert torch.allclose(other(states), SYSTEMS["Lorenz63"].make(rho=30.0)(states), rtol=1e-13, atol=1e-13)


def test_numpy_functions_lists_and_fields_of_the_whole_state_run_on_batches(package):
    states = torch.tensor([[0.3, 1.0], [-0.2, 2.0]]).double()
    found, _ = dysts_system("Kicked", dt=1e-6)
    speeds = ((found(states) - states) / 1e-6).numpy()  # to the curvature times dt
    assert speeds == pytest.approx(np.array([[np.sin(1.0) - 0.6, np.pi], [0.4, np.pi]]), abs=1e-5)
    ring, start = dysts_system("Ring", dt=1e-6)
    at = torch.tensor([start, (0.0, 0.0, 1.0)]).double()
    assert ((ring(at) - at) / 1e-6).numpy() == pytest.approx(np.array([[6.0, 1.0, 2.0], [2.0, 0.0, 0.0]]), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Lorentz", {}, "dysts has no flow 'Lorentz'; it has Branching, Delayed, .*Lorenz"),
        ("Lorenz", {"r": 1.0}, "Lorenz has no parameter 'r'; it has beta, rho, sigma"),
        ("Delayed", {}, "a delay system: its state is a function, not 10 numbers"),
        ("Timed", {}, "read the time"),
        ("Mixing", {}, "mix the rows of a batch"),
        ("Branching", {}, "cannot be run on a batch: Boolean value of Tensor"),
    ],
)
def test_what_is_no_map_is_refused(package, name, options, message):
    with pytest.raises(InputError, match=message):
        dysts_system(name, **options)


@pytest.mark.skipif(importlib.util.find_spec("dysts") is not None, reason="dysts is installed")
def test_without_the_package_the_way_to_get_it_is_told():
    with pytest.raises(InputError, match="dysts is not installed: pip install dysts"):
        dysts_system("Lorenz")


@pytest.mark.skipif(importlib.util.find_spec("dysts") is None, reason="dysts is not installed")
@pytest.mark.parametrize("name", STORED)
def test_our_ten_systems_have_the_fields_of_the_database_and_its_starts(name):
    stored = STORED[name]
    ours = SYSTEMS[stored.system].make(**stored.parameters)
    theirs, start = dysts_system(name, dt=ours.dt)
    assert start == pytest.approx(stored.start, rel=1e-5)
    states = torch.tensor([start]).double() * (
        1 + 0.1 * torch.randn(16, ours.dim, generator=torch.Generator().manual_seed(0))
    )
    assert torch.allclose(ours(states), theirs(states), rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("dysts") is None, reason="dysts is not installed")
def test_all_flows_of_the_database_but_six_are_maps():
    """The six of the docstring, in dysts 0.96."""
    table = json.loads(files("dysts").joinpath("data/chaotic_attractors.json").read_text())
    refused, asked = set(), [name for name, stored in table.items() if not stored["delay"]]
    for name in asked:
        try:
            dysts_system(name)
        except InputError:
            refused.add(name)
    assert len(asked) == 129
    assert refused == {"BeerRNN", "BelousovZhabotinsky", "BickleyJet", "InteriorSquirmer", "MacArthur", "Torus"}
