"""A mixture of almost-linear RNNs: contract, slopes against autograd, one step by hand, the gate in its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear, dynamix, rebuilt
from hooks.tangent import jacobian

EXPERTS, DIM, OUTPUTS, RELU = 4, 6, 3, 2


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters():
    return {
        "A": 0.5 * some(EXPERTS, DIM), "W": 0.2 * some(EXPERTS, DIM, DIM, seed=1), "h": some(EXPERTS, DIM, seed=2),
        "D": some(OUTPUTS, DIM, seed=3), "kernel": some(2, OUTPUTS, OUTPUTS, seed=4), "bias": some(OUTPUTS, seed=5),
        "M1": some(5, OUTPUTS + DIM, seed=6), "M2": some(EXPERTS, 5, seed=7),
        "tau": torch.tensor([0.7, -0.5], dtype=torch.float64), "noise": torch.full((OUTPUTS,), 0.3, dtype=torch.float64),
    }  # fmt: skip


CONTEXT = some(20, OUTPUTS, seed=8)
STATES = some(8, DIM, seed=9)


@pytest.mark.parametrize("noisy", [False, True])
def test_contract_and_exact_jacobian(noisy):
    dynamics = dynamix(parameters(), CONTEXT, relu=RELU, noisy=noisy)
    drives = some(10, OUTPUTS, seed=10)
    check_dynamics(dynamics, STATES, drive=drives[:8] if noisy else None)
    options = {"drives": drives} if noisy else {"steps": 10}
    check_replay(dynamics, rollout(dynamics, STATES, **options))
    written, automatic = (
        jacobian(d, STATES, drives[:8] if noisy else None) for d in (dynamics, replace(dynamics, jacobian=None))
    )
    assert (written - automatic).abs().max() < 1e-12 * automatic.abs().max()


def test_one_step_written_out_point_by_point():
    p = {name: np.asarray(value) for name, value in parameters().items()}
    c, z = CONTEXT.numpy(), STATES[0].numpy()
    distances = np.array([np.abs(point - p["D"] @ z).sum() for point in c[:-1]])
    a = np.exp(-distances / 0.7)
    a /= a.sum()
    read = [p["kernel"][0] @ c[t] + p["kernel"][1] @ c[t + 1] + p["bias"] for t in range(len(c) - 1)]
    e = sum(weight * point for weight, point in zip(a, read, strict=True))
    score = -p["M2"] @ np.maximum(p["M1"] @ np.concatenate([e, z]), 0) / 0.5
    w = np.exp(score) / np.exp(score).sum()
    phi = np.concatenate([z[:-RELU], np.maximum(z[-RELU:], 0)])
    expected = sum(w[j] * (p["A"][j] * z + p["W"][j] @ phi + p["h"][j]) for j in range(EXPERTS))
    found = dynamix(parameters(), CONTEXT, relu=RELU)(STATES[:1])[0].numpy()
    assert np.abs(found - expected).max() < 1e-13


def test_equal_experts_are_one_almost_linear_network_whatever_the_context():
    p = parameters()
    same = {name: p[name][:1].expand_as(p[name]) for name in ("A", "W", "h")}
    mixture = dynamix({**p, **same}, CONTEXT, relu=RELU)
    alone = PiecewiseLinear(p["A"][0], p["W"][0], p["h"][0], RELU).dynamics()
    assert (mixture(STATES) - alone(STATES)).abs().max() < 1e-13
    # weights sum to 1, so their slopes sum to 0 and the gate's term cancels
    assert (jacobian(mixture, STATES) - jacobian(alone, STATES)).abs().max() < 1e-12


def test_noise_of_zero_is_none_and_its_size_is_the_parameters():
    quiet, noisy = (dynamix(parameters(), CONTEXT, relu=RELU, noisy=noisy) for noisy in (False, True))
    assert noisy.driven and noisy.inputs == OUTPUTS and not quiet.driven
    assert torch.equal(noisy(STATES, torch.zeros(OUTPUTS).double()), quiet(STATES))
    # seen from D z + 0.3 u, the context is where it is from D z if both are shifted; what is read of it is shifted back
    u = some(OUTPUTS, seed=11)
    p = parameters()
    bias = p["bias"] + p["kernel"].sum(0) @ (0.3 * u)
    shifted = dynamix({**p, "bias": bias}, CONTEXT - 0.3 * u, relu=RELU)
    assert (noisy(STATES, u) - shifted(STATES)).abs().max() < 1e-12
    assert (noisy(STATES, u) - quiet(STATES)).abs().max() > 1e-3


def test_readout_fingerprint_and_weights_that_make_it_again():
    p = parameters()
    dynamics = dynamix(p, CONTEXT, relu=RELU)
    assert torch.equal(dynamics.readout(STATES), STATES[:, :OUTPUTS])
    assert dynamix(p, CONTEXT[:-1], relu=RELU).fingerprint != dynamics.fingerprint
    for noisy in (False, True):
        made = dynamix(p, CONTEXT, relu=RELU, noisy=noisy)
        held = made.hold(np.zeros(OUTPUTS)) if noisy else made
        again = rebuilt(held.weights)
        assert torch.equal(again(STATES), held(STATES)) and again.fingerprint == held.fingerprint
    arrays = {name: value.numpy() for name, value in p.items()}
    assert torch.equal(dynamix(arrays, CONTEXT.numpy(), relu=RELU)(STATES), dynamics(STATES))


def test_refusals():
    p = parameters()
    with pytest.raises(InputError, match="M2, tau are missing"):
        dynamix({name: p[name] for name in p if name not in ("M2", "tau")}, CONTEXT, relu=RELU)
    with pytest.raises(InputError, match=r"W of 4 experts of 6 units that read out 3 has shape \(4, 6, 6\)"):
        dynamix({**p, "W": p["W"][0]}, CONTEXT, relu=RELU)
    with pytest.raises(InputError, match="h has 1 values"):
        dynamix({**p, "h": torch.where(p["h"] == p["h"].max(), torch.nan, p["h"])}, CONTEXT, relu=RELU)
    with pytest.raises(InputError, match="temperatures"):
        dynamix({**p, "tau": torch.tensor([0.1, 0.0])}, CONTEXT, relu=RELU)
    for context in (CONTEXT[:1], CONTEXT[:, :2], CONTEXT * float("nan")):
        with pytest.raises(InputError, match=r"finite recording \(points, 3\)"):
            dynamix(p, context, relu=RELU)
    with pytest.raises(InputError, match="0 to 6 are rectified, not 7"):
        dynamix(p, CONTEXT, relu=7)
