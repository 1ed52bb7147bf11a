"""Sequence models in one linear form: against each model's own equations, written out here."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention, softplus

from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import (
    LinearForm,
    attention_form,
    diagonal_layer,
    exponential_features,
    gated_layer,
    linear_attention,
    selective_layer,
)
from tests.known import selective_recurrence

ROUNDING = 1e-12  # tens of tokens of order one in float64


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def s6():
    """Steps about 0.13, so that the twelve rates keep their order from token to token."""
    A = -torch.tensor([[1.0], [0.6], [1.7]], dtype=torch.float64) * torch.tensor([1.0, 2, 4, 8], dtype=torch.float64)
    return selective_layer(
        A, to_step=some(3, 3, seed=2) / 10, step_bias=torch.full((3,), -2.0, dtype=torch.float64),
        to_write=some(4, 3, seed=4), to_read=some(4, 3, seed=5), skip=some(3, seed=6),
    )  # fmt: skip


def gates(power=None):
    W, b = [some(3, 3, seed=seed) for seed in (1, 2, 3)], [some(3, seed=seed) for seed in (4, 5, 6)]
    return W, b, gated_layer(*W, b_forget=b[0], b_input=b[1], b_output=b[2], power=power)


def s4d(rotating):
    """S4D-Lin (complex, A_n = -1/2 + i pi n) or S4D-Real (A_n = -(n + 1))."""
    n = torch.arange(4.0, dtype=torch.float64).expand(3, 4)
    A = torch.complex(torch.full_like(n, -0.5), math.pi * n) if rotating else -(n + 1)
    C = torch.complex(some(3, 4, seed=1), some(3, 4, seed=2)) if rotating else some(3, 4, seed=1)
    step = torch.tensor([0.1, 0.3, 0.02], dtype=torch.float64)
    return diagonal_layer(A, torch.ones_like(A), C, some(3, seed=3), step=step), A, C, step


def layers():
    return [s6(), gates()[2], gates(2.0)[2], s4d(False)[0], s4d(True)[0],
            linear_attention(some(2, 5), some(2, 5, seed=1), some(3, 5, seed=2))]  # fmt: skip


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: layer.name)
def test_every_layer_is_a_map_that_replays_its_own_states_and_mixes_as_attention(layer):
    tokens = some(2, 12, layer.inputs)
    form, start = layer.form(tokens), some(2, layer.dim, seed=7)
    run = rollout(layer.dynamics(), start, drives=tokens)
    assert np.abs(layer.flat(form.states(layer.unflat(start))).numpy() - run.states).max() < ROUNDING
    check_dynamics(layer.dynamics(), start, drive=tokens[:, 0])
    check_replay(layer.dynamics(), run)
    mixed = torch.einsum("rcij,rjc->ric", form.mixing(), form.values)
    assert (mixed - form.outputs()).abs().max() < ROUNDING
    later = form.mixing().triu(1)
    assert not later.any()


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: layer.name)
def test_exponents_of_every_layer_are_the_mean_logarithms_of_its_decays(layer):
    tokens = some(800, layer.inputs)
    start = some(1, layer.dim, seed=1)
    found = lyapunov_spectrum(layer.dynamics(), start, steps=100, burn_in=700, drives=tokens)
    before, after = (layer.log_decays(some).mean(dim=0).numpy() for some in (tokens[:700], tokens[700:]))
    order = np.argsort(-after)
    gaps = -np.diff(before[order])
    assert gaps[np.abs(gaps) > 1e-12].min(initial=1.0) > 0.015  # e^-10 of a direction's turn towards the next is left
    assert found.exponents[0] == pytest.approx(after[order], abs=1e-6)  # e^-10 / 100 tokens


def test_s6_is_the_selective_recurrence_written_out():
    layer, u = s6(), some(20, 3)
    known = selective_recurrence(
        -np.outer([1.0, 0.6, 1.7], [1, 2, 4, 8]), some(3, 3, seed=2) / 10, torch.full((3,), -2.0), some(4, 3, seed=4)
    )
    start = some(1, 12, seed=9)
    assert (
        np.abs(rollout(layer.dynamics(), start, drives=u).states - rollout(known, start, drives=u).states).max() < 1e-13
    )
    states = rollout(known, torch.zeros(1, 12), drives=u).states[0, 1:].reshape(20, 3, 4)
    said = np.einsum("tn,tcn->tc", (u @ some(4, 3, seed=5).mT).numpy(), states) + (some(3, seed=6) * u).numpy()
    assert np.abs(layer.form(u[None]).outputs()[0].numpy() - said).max() < 1e-13


def test_s4d_is_its_convolution_with_the_kernel_of_the_continuous_system():
    """y = sum over j of k(i - j) u_j + D u_i, k(n) = C exp(n step A) (exp(step A) - 1) / A B (S4D, equation 6)."""
    for rotating in (False, True):
        layer, A, C, step = s4d(rotating)
        u = some(1, 30, 3)
        at = torch.arange(30.0, dtype=torch.float64)[:, None, None] * step[:, None] * A
        kernel = (C * torch.exp(at) * (torch.exp(step[:, None] * A) - 1) / A).sum(dim=-1)
        kernel = 2 * kernel.real if rotating else kernel
        said = torch.stack([(kernel[: i + 1].flip(0) * u[0, : i + 1]).sum(dim=0) for i in range(30)])
        assert (layer.form(u).outputs()[0] - said - some(3, seed=3) * u[0]).abs().max() < ROUNDING


def test_gates_are_their_equations_and_a_reversed_sigmoid_is_the_decay_of_s6():
    (W_f, W_i, W_o), (b_f, b_i, b_o), layer = gates()
    u, h = some(1, 15, 3), torch.zeros(3, dtype=torch.float64)
    said = []
    for x in u[0]:
        h = torch.sigmoid(W_f @ x + b_f) * h + torch.sigmoid(W_i @ x + b_i) * x
        said.append(torch.sigmoid(W_o @ x + b_o) * h)
    assert (layer.form(u).outputs()[0] - torch.stack(said)).abs().max() < ROUNDING
    logs = gates(1.0)[2].log_decays(u)
    assert (logs.exp() - torch.sigmoid(-(u @ W_f.mT + b_f))).abs().max() < 1e-15
    assert (logs + softplus(u @ W_f.mT + b_f)).abs().max() < 1e-15  # ln Lambda = Delta A with A = -1


def test_linear_attention_is_the_causal_sum_and_its_last_channel_the_normaliser():
    W = some(2, 5), some(2, 5, seed=1), some(3, 5, seed=2)
    x = some(1, 9, 5, seed=3)
    said = linear_attention(*W).form(x).outputs()[0]
    q, k, v = (x[0] @ w.mT for w in W)
    phi = lambda z: torch.where(z > 0, z + 1, z.exp())  # noqa: E731
    scores = (phi(q) @ phi(k).mT).tril()
    assert (said[:, :-1] - scores @ v).abs().max() < ROUNDING and (
        said[:, -1] - scores.sum(dim=1)
    ).abs().max() < ROUNDING
    # the form of the framework, with ratios of normalisers for decays, is their quotient
    normal = attention_form(q[None], k[None], v[None]).outputs()[0]
    assert (normal - said[:, :-1] / said[:, -1:]).abs().max() < ROUNDING


def test_decays_of_normalised_attention_telescope():
    """The mean of ln(n_(i-1) / n_i) is what the normaliser grew by: no memory is lost at a fixed rate."""
    q, k, v = some(1, 50, 2), some(1, 50, 2, seed=1), some(1, 50, 3, seed=2)
    form = attention_form(q, k, v)
    phi = lambda z: torch.where(z > 0, z + 1, z.exp())  # noqa: E731
    totals = (phi(q) * phi(k).cumsum(1)).sum(-1)[0]
    assert form.log_decays[0, :, 0, 0].sum().item() == pytest.approx(math.log(totals[0] / totals[-1]), abs=1e-12)


def test_exponential_features_are_the_exponential_series_and_softmax_attention_its_limit():
    q, k, v = some(2, 16, 3) / 4, some(2, 16, 3, seed=1) / 4, some(2, 16, 4, seed=2)
    exact = scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    s, gaps = q @ k.mT, []
    for order in (2, 4, 8, 12):
        phi = exponential_features(order, 3)
        assert phi(q).shape[-1] == math.comb(3 + order, order)
        series = sum(s**j / math.factorial(j) for j in range(order + 1))
        assert (phi(q) @ phi(k).mT - series).abs().max() < 1e-13
        # every weight errs by at most this share, so an average of v by at most 2 share / (1 - share) max |v|
        share = float((s.abs() ** (order + 1) * (-s).clamp(min=0).exp() / math.factorial(order + 1)).max())
        said = attention_form(q, k, v, features=phi).outputs()
        gaps.append(float((said - exact).abs().max()))
        assert gaps[-1] <= 2 * share / (1 - share) * float(v.abs().max())
    assert gaps[3] < 1e-10 < gaps[0] and gaps == sorted(gaps, reverse=True)


def test_one_token_one_channel_and_no_memory():
    one = LinearForm(torch.full((1, 1, 1, 1), -torch.inf), *(torch.full((1, 1, 1, 1), 2.0) for _ in range(2)),
                     torch.ones(1, 1, 1), torch.full((1, 1, 1), 3.0))  # fmt: skip
    assert one.outputs().item() == 2 * 2 * 3 + 3 and one.mixing().item() == 5
    assert one.states(torch.full((1, 1, 1), 7.0))[0, :, 0, 0].tolist() == [7, 6]


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match=r"to_read has shape \(4, 2\), but \(4, 3\) fits the others"):
        selective_layer(
            -torch.ones(3, 4), to_step=torch.ones(3, 3), step_bias=torch.ones(3), to_write=torch.ones(4, 3),
            to_read=torch.ones(4, 2), skip=torch.ones(3),
        )  # fmt: skip
    with pytest.raises(InputError, match="A away from zero and positive steps"):
        diagonal_layer(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1), torch.ones(1), step=torch.ones(1))
    with pytest.raises(InputError, match="positive power, not -1"):
        gates(-1.0)
    with pytest.raises(InputError, match="even order and a width, but order=3"):
        exponential_features(3, 2)
    with pytest.raises(InputError, match="1 of 2 normalisers are not positive"):
        attention_form(torch.ones(1, 2, 1), -torch.tensor([[[-1.0], [3.0]]]), torch.ones(1, 2, 1), features=lambda x: x)
