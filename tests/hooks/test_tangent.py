import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analyses.maps import _sweeps
from analyses.maps.lyapunov import lyapunov_spectrum
from case_studies._systems import SYSTEMS
from hooks import tangent
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import adaptive, recurrent
from hooks.tangent import jacobian, pull, push, pushed, readout_jacobian, readout_pull, readout_push
from tests.known import henon, logistic

EPS = torch.finfo(torch.float64).eps


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_sine() -> Dynamics:
    """A step that autograd and tracers cannot see, with its own push."""

    def sine(x: Tensor) -> Tensor:
        return torch.from_numpy(np.sin(x.numpy()))

    return Dynamics(lambda x, _: sine(x), dim=2, push=lambda x, t, _: (sine(x), torch.cos(x)[:, :, None] * t))


def cubic_by_hand(slope: float = 3.0) -> Dynamics:
    return Dynamics(lambda x, _: x**3, dim=2, push=lambda x, t, _: (x**3, slope * (x * x)[:, :, None] * t))


def no_compiler(*_: object, **__: object) -> None:
    raise RuntimeError("no C++ compiler found")


@pytest.fixture
def traced_only(monkeypatch):
    """What is traced runs as it is, so that a test of the choice waits for no compiler."""
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)


@pytest.mark.parametrize("really", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["traced", "compiled"])
def test_a_compiled_gru_follows_its_drive_and_carries_what_its_jacobian_says(really, monkeypatch):
    if not really:
        monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru = recurrent(nn.GRU(3, 5))
    states, tangents, drive = some(4, 5), some(4, 5, 5, seed=1), some(3, seed=2)
    chosen = pushed(gru, states, tangents, drive, steps=1, compiled=True)
    assert chosen.compiled and chosen.note == "pushes are forward mode, compiled"
    states, tangents, drive = some(4, 5, seed=3), some(4, 5, 5, seed=4), some(3, seed=5)  # none of them seen before
    after, carried = chosen(states, tangents, drive)
    # entries of order one, sums of five products, some thirty operations each of which may round
    assert (after - gru(states, drive)).abs().max() < 50 * EPS
    assert (carried - jacobian(gru, states, drive) @ tangents).abs().max() < 50 * EPS


def test_compilation_waits_until_the_work_saved_pays_for_it_and_is_chosen_alike_every_time(traced_only):
    states, tangents = some(8, 3), some(8, 3, 3, seed=1)
    lorenz = SYSTEMS["Lorenz63"].make()
    few, many = (pushed(lorenz, states, tangents, steps=steps) for steps in (1000, 1_000_000))
    assert not few.compiled and "compiled, 1000 of them would save" in few.note
    assert many.compiled and many.note == "pushes are forward mode, compiled"
    assert torch.equal(few(states, tangents)[1], push(lorenz, states, tangents)[1])
    # a step of three operations spends less than entering compiled code does, however long the run
    quick = Dynamics(lambda x, _: 2 * x, dim=2, push=lambda x, t, _: (2 * x, 2 * t))
    assert not pushed(quick, some(1, 2), some(1, 2, 1), steps=10**9).compiled
    assert not pushed(lorenz, states, tangents, steps=10**9, compiled=False).compiled


def test_the_hand_written_push_is_compiled_where_forward_mode_says_otherwise(traced_only):
    """relu's own slope against a straight-through one: the map's push is the eager truth."""
    straight = Dynamics(lambda x, _: torch.relu(x), dim=2, push=lambda x, t, _: (torch.relu(x), t))
    states, tangents = -some(3, 2).abs(), some(3, 2, 2, seed=1)
    chosen = pushed(straight, states, tangents, steps=1, compiled=True)
    assert chosen.note == "pushes are the hand-written push, compiled"
    assert torch.equal(chosen(states, tangents)[1], tangents)


@pytest.mark.parametrize(
    ("dynamics", "drive", "reason"),
    [
        (Dynamics(lambda x, _: 2 * x if x.sum() > 0 else x, dim=2), None, "data-dependent"),
        (numpy_sine(), None, "numpy"),
        (adaptive(lambda x, _: -x, 2, dt=0.1), None, "numpy"),
        (Dynamics(lambda x, _: x + torch.randn_like(x), dim=2), None, "draws random numbers"),
        (Dynamics(lambda x, layer: layer * x, dim=2, driven=True), 3, "a drive of type int"),
    ],
    ids=["branches on values", "numpy", "scipy", "draws", "a drive that is no tensor"],
)
def test_what_cannot_be_compiled_stays_eager_and_says_why(dynamics, drive, reason):
    states, tangents = some(3, 2), some(3, 2, 2, seed=1)
    before = torch.get_rng_state()
    chosen = pushed(dynamics, states, tangents, drive, steps=1, compiled=True)
    assert torch.equal(torch.get_rng_state(), before)  # the trial drew nothing that the run would have drawn
    assert not chosen.compiled and reason in chosen.note
    after, carried = chosen(states, tangents, drive)
    torch.set_rng_state(before)
    expected = push(dynamics, states, tangents, drive)
    assert torch.equal(after, expected[0]) and torch.equal(carried, expected[1])


def test_without_a_compiler_pushes_are_eager(monkeypatch):
    monkeypatch.setattr(torch, "compile", no_compiler)
    chosen = pushed(henon(), some(3, 2), some(3, 2, 1), steps=1, compiled=True)
    assert not chosen.compiled and "no C++ compiler found" in chosen.note
    assert torch.equal(chosen(some(3, 2), some(3, 2, 1))[0], henon()(some(3, 2)))


def test_a_first_step_that_differs_beyond_rounding_is_not_taken(monkeypatch):
    """A compiler that is wrong in the tenth digit; and one that rounds otherwise is let through."""
    for error, taken in ((1e-10, False), (EPS, True)):

        def wrong(graph, error=error, **_):
            return lambda *given: tuple(out * (1 + error) for out in graph(*given))

        monkeypatch.setattr(torch, "compile", wrong)
        chosen = pushed(henon(), some(3, 2), some(3, 2, 2, seed=1), steps=1, compiled=True)
        assert chosen.compiled is taken
        assert taken or "its first step differs from the eager one beyond rounding" in chosen.note


def test_states_of_another_shape_or_precision_are_pushed_eagerly(traced_only):
    chosen = pushed(logistic(), some(3, 1), some(3, 1, 1), steps=1, compiled=True)
    for states in (some(5, 1), some(3, 1).float()):
        tangents = torch.ones_like(states)[:, :, None]
        assert torch.equal(chosen(states, tangents)[1], push(logistic(), states, tangents)[1])


def test_directions_pushed_a_few_at_a_time_are_the_same_and_see_the_same_draws(monkeypatch):
    """A slope drawn in the step: the last direction is the sum of the others, before and after."""

    def step(x: Tensor, _: object) -> Tensor:
        return x * torch.rand_like(x) + torch.rand_like(x)

    states, tangents = some(2, 3), some(2, 3, 5)
    tangents[:, :, 4] = tangents[:, :, :4].sum(2)
    monkeypatch.setattr(tangent, "AT_ONCE", 12)  # two directions of six numbers
    with torch.random.fork_rng(devices=[]):
        _, carried = push(Dynamics(step, dim=3), states, tangents)
        assert (carried[:, :, 4] - carried[:, :, :4].sum(2)).abs().max() < 20 * EPS
    few = push(henon(), some(3, 2), some(3, 2, 7, seed=1))
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(few, push(henon(), some(3, 2), some(3, 2, 7, seed=1)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Lorenz63", "Lorenz96", "Henon"])
def test_a_hand_written_push_and_compiled_forward_mode_agree_along_an_orbit(name):
    """Two derivations of one slope; a hundred steps from each other's states, so that chaos multiplies nothing."""
    dynamics = SYSTEMS[name].make()
    states = torch.as_tensor(SYSTEMS[name].start(dynamics.dim), dtype=torch.float64) + 0.01 * some(4, dynamics.dim)
    tangents = torch.linalg.qr(some(4, dynamics.dim, dynamics.dim, seed=1))[0]
    chosen = pushed(dynamics, states, tangents, steps=1, compiled=True)
    assert chosen.compiled
    for _ in range(100):
        after, carried = push(dynamics, states, tangents)
        got, moved = chosen(states, tangents)
        # RK4 sums four slopes of size up to 1e3 dt: a thousand roundings of the largest entry is generous
        assert (got - after).abs().max() <= 1e3 * EPS * after.abs().max()
        assert (moved - carried).abs().max() <= 1e3 * EPS * carried.abs().max()
        states = after


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Henon", "Lorenz63"])
def test_exponents_by_compiled_pushes_keep_their_sum_rule_and_the_eager_values_within_errors(name, monkeypatch):
    system = SYSTEMS[name]
    dynamics = system.make()
    starts = torch.as_tensor(system.start(dynamics.dim), dtype=torch.float64) + 0.1 * some(16, dynamics.dim)
    eager = lyapunov_spectrum(dynamics, starts, steps=2000, burn_in=200)
    monkeypatch.setattr(_sweeps, "pushed", partial(pushed, compiled=True))
    compiled = lyapunov_spectrum(dynamics, starts, steps=2000, burn_in=200)
    again = lyapunov_spectrum(dynamics, starts, steps=2000, burn_in=200)
    assert compiled.pushes == "pushes are forward mode, compiled" and eager.pushes.startswith("pushes are eager")
    assert np.array_equal(compiled.per_start, again.per_start)  # compiled anew, the same bits
    assert all(check.passed for check in compiled.checks) and len(compiled.checks)
    # the orbits part by chaos, so the means differ as two samples do
    apart = np.abs(compiled.exponents[0, 0] - eager.exponents[0, 0])
    assert apart < 4 * np.hypot(compiled.standard_errors[0, 0], eager.standard_errors[0, 0])


@pytest.mark.slow
def test_32_directions_of_a_map_with_100_000_units_fit_in_100_states():
    """A coupled map lattice in a process of its own, by its peak memory above what stood before the push: the tangents that
    enter are 32 states, those that leave as many."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.lyapunov", "--memory", "push"], capture_output=True, text=True, check=True
    )
    assert 32 < 32 + float(answer.stdout) < 100


@pytest.mark.parametrize("kind", ["by autograd", "by hand", "driven by a number"])
def test_pull_is_the_adjoint_of_push(kind):
    """<u, J v> = <J' u, v> for every pair of directions, to the rounding of sums of five products."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru = recurrent(nn.GRU(3, 5)).hold(np.ones(3))
    W = some(2, 5, 5, seed=7)
    layered = Dynamics(lambda x, layer: x + torch.tanh(x @ W[layer]), dim=5, driven=True, clock="layer")
    maps = {"by autograd": replace(gru, jacobian=None, push=None), "by hand": gru, "driven by a number": layered}
    dynamics, drive = maps[kind], 1 if kind == "driven by a number" else None
    states, tangents, cotangents = some(4, 5), some(4, 5, 3, seed=1), some(4, 5, 6, seed=2)
    there = cotangents.mT @ push(dynamics, states, tangents, drive)[1]
    back = pull(dynamics, states, cotangents, drive).mT @ tangents
    torch.testing.assert_close(there, back, rtol=0, atol=100 * EPS)


def test_what_ignores_its_state_pulls_back_nothing_and_a_wrong_shape_is_refused():
    constant = Dynamics(lambda x, _: torch.ones_like(x), dim=2)
    assert torch.equal(pull(constant, some(3, 2), some(3, 2, 4)), torch.zeros(3, 2, 4, dtype=torch.float64))
    with pytest.raises(InputError, match="have those two axes and one for directions"):
        pull(constant, some(3, 2), some(3, 4, 2))


def test_tangents_and_cotangents_pass_the_readout_as_its_slope_says(monkeypatch):
    monkeypatch.setattr(tangent, "AT_ONCE", 24)  # two directions at once
    W = some(7, 4, seed=3)
    said = Dynamics(lambda x, _: x, dim=4, readout=lambda x: torch.tanh(x @ W.mT))
    states = some(3, 4)
    slope = readout_jacobian(said, states)
    tangents, cotangents = some(3, 4, 5, seed=1), some(3, 7, 2, seed=2)
    torch.testing.assert_close(readout_push(said, states, tangents), slope @ tangents, rtol=0, atol=100 * EPS)
    torch.testing.assert_close(readout_pull(said, states, cotangents), slope.mT @ cotangents, rtol=0, atol=100 * EPS)
    with pytest.raises(InputError, match="has no readout: give one where the map is made"):
        readout_pull(Dynamics(lambda x, _: x, dim=4), states, cotangents)
