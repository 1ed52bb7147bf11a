"""The folded chain and the transverse map are the chain's own, at states in which the outer neurons agree."""

import torch

from case_studies._maps import chialvo_rulkov_chain
from case_studies.neuron_map_chain import FOLDED, UNFOLD, among, chain, transverse
from hooks.contract import check_dynamics
from hooks.tangent import jacobian

COUPLING = torch.tensor([0.07], dtype=torch.float64)
HALF = torch.rand(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_chain_under_a_drive_is_the_chain_at_that_coupling():
    states, fixed = HALF[:, list(UNFOLD)], chialvo_rulkov_chain(3, 0.07)
    check_dynamics(chain(), states, drive=COUPLING)
    assert (chain()(states, COUPLING) - fixed(states)).abs().max() < 1e-14  # rounding
    assert (jacobian(chain(), states, COUPLING) - jacobian(fixed, states)).abs().max() < 1e-13


def test_the_slope_splits_into_the_folded_and_the_transverse_one():
    """In mean and difference of the outer neurons the slope at a state where they agree has two blocks, hence both spectra."""
    folded, states = among(chain(), FOLDED, UNFOLD, "folded"), HALF[:, list(UNFOLD)]
    check_dynamics(folded, HALF, drive=COUPLING)
    assert (folded(HALF, COUPLING)[:, list(UNFOLD)] - chain()(states, COUPLING)).abs().max() < 1e-14
    for at, whole in zip(HALF, jacobian(chain(), states, COUPLING), strict=True):
        drive = torch.cat([at, COUPLING])
        check_dynamics(transverse(chain()), torch.ones(2, 2).double(), drive=drive)
        blocks = [
            jacobian(folded, at[None], COUPLING)[0],
            jacobian(transverse(chain()), torch.zeros(1, 2).double(), drive)[0],
        ]
        # characteristic polynomials: |det(J - z)| at six numbers z fixes six eigenvalues
        for z in (0.3, -0.7, 1.1, 2.0, -1.5, 0.0):
            parts = [torch.linalg.det(block - z * torch.eye(len(block))) for block in blocks]
            assert abs(torch.linalg.det(whole - z * torch.eye(6)) - parts[0] * parts[1]) < 1e-10
