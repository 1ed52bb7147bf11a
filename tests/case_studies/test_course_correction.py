import pytest
import torch

from case_studies.course_correction import LATENT, SPARSE, KoopmanAutoencoder, Part, re_encoded, recorded, shipped
from hooks.contract import check_dynamics


def test_the_mean_square_of_all_errors_is_the_sum_of_the_four_losses():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = KoopmanAutoencoder().double()
        windows = torch.randn(3, 4, 2, dtype=torch.float64)
    with torch.no_grad():
        codes = network.lift(windows)
        ahead = torch.stack([codes[:, 0] @ torch.linalg.matrix_power(network.matrix, k).T for k in range(4)], dim=1)
        losses = (
            (network.back(codes) - windows).pow(2).mean(),
            (network.back(ahead) - windows).pow(2).mean(),
            (ahead - codes).pow(2).mean(),
            SPARSE * codes.abs().mean(),
        )
        assert network(windows).pow(2).mean().item() == pytest.approx(sum(losses).item(), rel=1e-8)


def test_a_period_of_the_re_encoded_map_is_so_many_latent_steps():
    network = shipped().double()
    states = recorded(5, 1, 0).states[:, 0]
    lift, back = Part(network.lift), Part(network.back)
    codes = lift(states)
    for _ in range(10):
        codes = codes @ network.matrix.numpy().T
    dynamics = re_encoded(network, 10)
    check_dynamics(dynamics, states)
    assert dynamics(torch.tensor(states)).detach().numpy() == pytest.approx(back(codes), abs=1e-12)
    assert codes.shape == (5, LATENT) and repr(lift) == repr(Part(shipped().double().lift)) != repr(back)
