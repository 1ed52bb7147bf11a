import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics
from hooks.errors import InputError
from hooks.families import foreign, from_jax, recurrent
from hooks.tangent import drive_jacobian, jacobian, push


def henon(states, _):
    x, y = states.T
    return np.stack([1 - 1.4 * x**2 + y, 0.3 * x], 1)


def henon_slope(states, _):
    slope = np.zeros((len(states), 2, 2))
    slope[:, 0, 0], slope[:, 0, 1], slope[:, 1, 0] = -2.8 * states[:, 0], 1.0, 0.3
    return slope


def henon_push(states, tangents, drive):
    return henon(states, drive), henon_slope(states, drive) @ tangents


def leak(states, drive):
    return 0.5 * states + np.sin(drive)


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GIVEN = {"push": {"push": henon_push}, "jacobian": {"jacobian": henon_slope},
         "both": {"push": henon_push, "jacobian": henon_slope},
         "difference": {"jacobian": "central difference"}}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_a_numpy_map_carries_tangents_by_whatever_slopes_came_with_it(name):
    dynamics = foreign(henon, 2, **GIVEN[name])
    check_dynamics(dynamics, some(4, 2))
    off = 1e-9 if name == "difference" else 1e-14  # eps^(2/3) |F'''| and rounding eps^(2/3): a few 1e-11
    exact = torch.from_numpy(henon_slope(some(4, 2).numpy(), None))
    assert (jacobian(dynamics, some(4, 2)) - exact).abs().max() < off
    after, carried = push(dynamics, some(4, 2), some(4, 6).reshape(4, 2, 3))
    assert torch.equal(after, torch.from_numpy(henon(some(4, 2).numpy(), None)))
    assert (carried - exact @ some(4, 6).reshape(4, 2, 3)).abs().max() < 10 * off
    twice = dynamics.iterated(2)
    assert (jacobian(twice, some(4, 2)) - jacobian(dynamics, after) @ exact).abs().max() < 10 * off


def test_the_known_facts_of_henon_hold_without_torch():
    dynamics = foreign(henon, 2, push=henon_push, name="numpy Hénon")
    found = find_fixed_points(dynamics, some(32, 2))
    x = np.sort(found.points[:, 0])
    # 1.4 x^2 + 0.7 x - 1 = 0
    assert np.abs(x - (-0.7 + np.array([-1, 1]) * math.sqrt(0.49 + 5.6)) / 2.8).max() < 1e-12
    spectrum = lyapunov_spectrum(dynamics, [[0.1, 0.1]], steps=100)
    assert spectrum.exponents[0].sum() == pytest.approx(math.log(0.3), abs=1e-12)  # det J = -0.3 everywhere
    assert (
        certify(dynamics, found.points).reasons[0]
        == "'numpy Hénon' steps outside torch, so nothing can be proved of it"
    )


def test_drives_reach_the_step_for_all_rows_or_each_its_own():
    dynamics = foreign(leak, 2, inputs=2, jacobian="central difference", dt=0.5, fingerprint="leak-1")
    states, drives = some(5, 2), some(5, 2, seed=1)
    for drive in (drives, drives[0]):
        check_dynamics(dynamics, states, drive=drive)
        assert (dynamics(states, drive) - (states / 2 + torch.sin(drive))).abs().max() < 1e-15
        assert (jacobian(dynamics, states, drive) - torch.eye(2) / 2).abs().max() < 1e-9
    assert dynamics.dt == 0.5 and dynamics.fingerprint == "leak-1" and not dynamics.weights


def test_slopes_that_nobody_gave_are_refused_and_autograd_has_none():
    bare = foreign(henon, 2, name="bare")
    assert bare(some(3, 2)).shape == (3, 2)
    for slope in (lambda: jacobian(bare, some(3, 2)), lambda: push(bare, some(3, 2), some(3, 2)[..., None])):
        with pytest.raises(
            InputError, match="'bare' steps outside torch and came without slopes: give push= or jacobian="
        ):
            slope()
    driven = foreign(leak, 2, inputs=2, jacobian="central difference", name="leak")
    with pytest.raises(InputError, match="'leak' steps outside torch, so autograd has no slope of it"):
        drive_jacobian(driven, some(3, 2), some(2))
    with pytest.raises(InputError, match="jacobian is a function or 'central difference', not 'forward'"):
        foreign(henon, 2, jacobian="forward")


def test_a_step_of_another_shape_or_that_raises_is_refused():
    with pytest.raises(InputError, match=r"must give states of shape \(2, 2\); \(2, 1\) came"):
        foreign(lambda x, _: x[:, :1], 2)
    with pytest.raises(InputError, match=r"fails on states of shape \(2, 3\) and 0 inputs: ValueError"):
        foreign(henon, 3)


def test_the_step_may_keep_its_own_storage_and_write_into_what_it_is_given():
    store = np.zeros((3, 2))

    def greedy(states, _):
        states *= 0.5  # in place
        store[: len(states)] = states
        return store[: len(states)]

    check_dynamics(foreign(greedy, 2, jacobian=lambda x, _: np.tile(np.eye(2) / 2, (len(x), 1, 1))), some(3, 2))


def test_a_jax_gru_gives_its_torch_twins_points_and_exponents_and_leaves_jax_as_it_was():
    jax = pytest.importorskip("jax")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # three points, two of them stable
        cell = nn.GRUCell(2, 6).double()
    with torch.no_grad():
        cell.weight_hh.mul_(4)
    W_x, W_h, b_x, b_h = (value.detach().numpy() for value in cell.parameters())

    def gru(h, x):
        r_x, z_x, n_x = jax.numpy.split(x @ W_x.T + b_x, 3, -1)
        r_h, z_h, n_h = jax.numpy.split(h @ W_h.T + b_h, 3, -1)
        z = jax.nn.sigmoid(z_x + z_h)
        return (1 - z) * jax.numpy.tanh(n_x + jax.nn.sigmoid(r_x + r_h) * n_h) + z * h

    before = jax.config.jax_enable_x64
    ours, twin = from_jax(gru, 6, inputs=2), recurrent(cell)
    states, drives = some(8, 6), some(8, 2, seed=1)
    check_dynamics(ours, states, drive=drives)
    check_dynamics(ours, states, drive=drives[0])
    assert (ours(states, drives) - twin(states, drives)).abs().max() < 1e-14
    assert (jacobian(ours, states, drives) - jacobian(twin, states, drives)).abs().max() < 1e-14
    # the same starts and no trapping box, which a map from outside does not bring, so that both searches are the same
    ours, twin = ours.hold([0.0, 0.0]), replace(twin.hold([0.0, 0.0]), box=None)
    found, expected = (find_fixed_points(one, torch.tanh(some(16, 6))) for one in (ours, twin))
    # a GRU's points lie in the cube; outside it residuals vanish where the update gate saturates, without a point
    inside = [one.points[(np.abs(one.points) < 1).all(1)] for one in (found, expected)]
    assert len(inside[0]) == len(inside[1]) == 3
    distances = np.abs(inside[0][:, None] - inside[1][None]).max(2)
    assert distances.min(1).max() < 1e-10 and distances.min(0).max() < 1e-10
    spectra = [lyapunov_spectrum(one, some(4, 6) / 4, steps=100).per_start for one in (ours, twin)]
    assert np.abs(spectra[0] - spectra[1]).max() < 1e-10
    assert jax.config.jax_enable_x64 == before and jax.numpy.zeros(1).dtype == ("float64" if before else "float32")
    with pytest.raises(InputError, match="steps outside torch, so autograd has no slope"):
        drive_jacobian(from_jax(gru, 6, inputs=2), states, drives)


def test_jax_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(InputError, match=r"pip install interp-dynamics\[jax\]"):
        from_jax(lambda x, _: x, 1)
