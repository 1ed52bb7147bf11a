import pytest
import torch

from case_studies.learning_to_integrate import DECAY, DT, TURNS, Setting, drawn, kernels, planar, trained


def test_kernels_of_a_diagonal_matrix_are_sums_of_exponentials():
    """v' exp((W - I) t) u = sum of u_i v_i exp((w_i - 1) t); rounding of 310 products."""
    generator = torch.Generator().manual_seed(0)
    w, u, v = torch.randn(3, 2, 5, generator=generator, dtype=torch.float64) / 2
    t = DT * torch.arange(301, dtype=torch.float64)
    expected = (u[:, None] * v[:, None] * torch.exp((w - 1)[:, None] * t[:, None])).sum(2)
    torch.testing.assert_close(kernels(torch.diag_embed(w), u, v, 300), expected, rtol=0, atol=1e-11)


def test_two_units_begin_with_the_products_of_u_and_v():
    _, u, v = drawn(Setting(0.01, 3))
    W, u2, v2 = planar(Setting(0.01, 3))
    assert W.abs().max() == 0
    for one, other in ((u @ u, u2 @ u2), (u @ v, u2 @ v2), (v @ v, v2 @ v2)):
        assert float(one) == pytest.approx(float(other), abs=1e-14)


def test_a_batch_trains_each_network_as_if_alone():
    settings = (TURNS[0], Setting(0.9, 0), Setting(0.3, 0, decay=0.2))
    together = trained(settings, drawn, (0, 3), "three")
    alone = trained(settings[1:2], drawn, (0, 3), "one")
    assert together[1].history == pytest.approx(alone[0].history, abs=1e-13)  # rounding of three updates


def test_descent_follows_the_difference_quotient_of_the_loss():
    """One entry of the first update of W over the rate is minus the slope; central differences of 1e-6 are good to 1e-7."""
    setting = Setting(0.3, 0)
    W, u, v = (each[None] for each in drawn(setting))
    t = DT * torch.arange(301, dtype=torch.float64)

    def loss(shift):
        moved = W.clone()
        moved[0, 4, 7] += shift
        return DT * float((kernels(moved, u, v, 300) - torch.exp(-DECAY * t)).square().sum())

    history = trained((setting,), drawn, (0, 1), "one")[0].history
    slope = (history[0, 4, 7] - history[1, 4, 7]) / 0.0015
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, abs=1e-6)
