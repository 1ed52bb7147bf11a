import numpy as np
import pytest
import torch

from analyses.weights.token_flow import token_flow, velocity
from hooks.errors import InputError
from hooks.families import selective_layer

DRAWS = 20


def specimens():
    one = np.ones((1, 1))
    return [token_flow(np.ones((2, 1, 1)), -one, one, one, time=10.0),
            token_flow(np.ones((2, 1, 1)), one, one, one, watch=lambda runs, total: iter(()))]  # fmt: skip


def signed(rng):
    """Sizes between 0.3 and 2, so that nothing starts on the border of two regimes."""
    return (rng.uniform(0.3, 2, DRAWS) * rng.choice([-1, 1], DRAWS))[:, None, None]


def test_the_velocity_is_the_output_of_a_selective_layer_without_skip():
    rng = np.random.default_rng(0)
    x, S_B, S_C, S_step = rng.standard_normal((7, 3)), *rng.standard_normal((2, 4, 3)), rng.standard_normal((3, 3))
    tensor = torch.from_numpy
    layer = selective_layer(
        torch.full((3, 4), -0.7, dtype=torch.float64), to_step=tensor(S_step), step_bias=torch.zeros(3).double(),
        to_write=tensor(S_B), to_read=tensor(S_C), skip=torch.zeros(3).double(),
    )  # fmt: skip
    said = layer.form(tensor(x)[None]).outputs()[0].numpy()
    assert velocity(x, S_C.T @ S_B, S_step, 0.7) == pytest.approx(said, abs=1e-12)


def test_a_token_that_vanishes_does_so_as_the_inverse_square_root_of_time():
    """dx/dt = -|mu| ln2 x^3 near 0, so x sqrt(2 |mu| ln2 t) -> 1 (0.9994 at 1e6 from 0.7 with S_step = 1)."""
    rng = np.random.default_rng(1)
    mu = -rng.uniform(0.3, 2, DRAWS)[:, None, None]
    found = token_flow(signed(rng), mu, np.ones_like(mu), signed(rng))
    assert found.fates == ("vanish",) * DRAWS and found.as_predicted.all()
    assert np.abs(found.law - 1).max() < 0.01 and all(check.passed for check in found.checks)


@pytest.mark.parametrize(("sign", "fate"), [(1, "pass the bound"), (-1, "still grow")])
def test_a_token_that_diverges_is_fast_or_slow_by_the_sign_of_its_step(sign, fate):
    rng = np.random.default_rng(2)
    x, mu = signed(rng), rng.uniform(0.3, 2, DRAWS)[:, None, None]
    S_step = sign * np.sign(x) * rng.uniform(0.3, 2, DRAWS)[:, None, None]
    found = token_flow(x, mu, np.ones_like(mu), S_step)
    assert found.fates == (fate,) * DRAWS == found.predicted
    assert (found.ends < 1000).all() if sign > 0 else (found.ends >= 1e6).all()


def test_the_time_of_infinity_is_the_integral():
    """S_step = 0 leaves Delta = ln 2: dx/dt = mu ln2 x^3 from x_0 reaches infinity at 1 / (2 mu ln2 x_0^2)."""
    found = token_flow([[[0.5]]], [[2.0]], [[1.0]], [[1e-300]], bound=1e6)
    assert found.ends[0] == pytest.approx(1 / (2 * 2 * np.log(2) * 0.25), rel=1e-6)


def test_a_later_token_may_reach_infinity_while_the_first_grows_slowly():
    """x_2 > 0 > x_1 with S_step = 1: the sign of each token's own step decides, not that of the first alone."""
    found = token_flow([[[-0.7], [0.7]]], [[1.0]], [[1.0]], [[1.0]])
    assert found.fates == found.predicted == ("pass the bound",) and found.sizes[0, 0] < 1


@pytest.mark.parametrize(("kinds", "fate"), [((1, 1), "pass the bound"), ((-1, -1), "vanish")])
def test_ten_tokens_in_the_plane_go_where_both_eigenvalues_say(kinds, fate):
    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.standard_normal((DRAWS, 2, 2)))[0]
    M = np.einsum("rij,rj,rkj->rik", Q, np.array(kinds) * rng.uniform(0.5, 2, (DRAWS, 2)), Q)
    M = M + rng.standard_normal((DRAWS, 1, 1)) * np.array([[0, 1], [-1, 0]])  # turns are no part of x' M x
    tokens, S_step = rng.standard_normal((DRAWS, 10, 2)), rng.standard_normal((DRAWS, 2, 2))
    found = token_flow(tokens, M, np.tile(np.eye(2), (DRAWS, 1, 1)), S_step)
    assert found.fates == (fate,) * DRAWS and found.as_predicted.all()


def test_with_both_signs_the_start_decides():
    """x' M x = x_1^2 - x_2^2. From (0.5, 1) it is negative and both shrink; the channel of the larger Delta shrinks faster, so
    the token stops on the diagonal where that is the second, and vanishes where it is the first."""
    tokens, S_B = np.array([[[0.5, 1.0]]] * 2 + [[[1.0, 0.5]]]), np.diag([1.0, -1.0])
    S_step = np.array([np.diag([-2.0, 2.0]), np.diag([2.0, -2.0]), np.diag([2.0, -2.0])])
    found = token_flow(tokens, np.tile(S_B, (3, 1, 1)), np.tile(np.eye(2), (3, 1, 1)), S_step)
    assert found.fates == ("rest off zero", "vanish", "pass the bound") and found.predicted == ("", "", "")
    assert "0 of 0 runs" in found.summary()


def test_a_token_that_nothing_moves_rests_and_refusals():
    still = token_flow(np.ones((1, 1, 1)), [[0.0]], [[0.0]], [[1.0]])
    assert still.fates == ("rest off zero",) and still.sizes.tolist() == [[1.0]]
    one = np.ones((1, 1))
    with pytest.raises(InputError, match=r"\(2, 1\), \(1, 1\), \(1, 1\) came"):
        token_flow(np.ones((2, 1)), one, one, one)
    with pytest.raises(InputError, match=r"no token lies at zero"):
        token_flow(np.zeros((1, 1, 1)), one, one, one)
    with pytest.raises(InputError, match=r"bound=-1"):
        token_flow(np.ones((1, 1, 1)), one, one, one, bound=-1.0)
