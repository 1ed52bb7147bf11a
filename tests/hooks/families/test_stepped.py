import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics
from hooks.errors import ContractError, InputError
from hooks.families import stepped


class Plain(nn.Module):
    """tanh([x, h] W) with dropout before the nonlinearity."""

    input_size, hidden_size = 2, 4

    def __init__(self, noise=0.5, norm=False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.mix = nn.Linear(6, 4)
        self.drop = nn.Dropout(noise)
        self.norm = nn.BatchNorm1d(4, track_running_stats=False) if norm else nn.Identity()

    def forward(self, x, h):
        h = torch.tanh(self.norm(self.drop(self.mix(torch.cat([x, h], 1)))))
        return h.sum(1), h


class Restless(Plain):
    def forward(self, x, h):
        return super().forward(x, h)[1] + 1e-3 * torch.rand_like(h)


def test_a_module_with_a_forward_of_input_and_state_passes_in_eval_mode():
    module = Plain().train()
    dynamics = stepped(module)
    states, drive = (
        torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).double(),
        torch.ones(2).double(),
    )
    check_dynamics(dynamics, states, drive=drive)
    twin = Plain(0.0).double().eval()
    assert (dynamics(states, drive) - twin(drive.expand(8, 2), states)[1]).abs().max() < 1e-15
    assert module.training and next(module.parameters()).dtype == torch.float32


def test_batch_statistics_and_noise_break_the_contract():
    states, drive = (
        torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).double(),
        torch.ones(2).double(),
    )
    with pytest.raises(ContractError, match="depends on the batch"):
        check_dynamics(stepped(Plain(norm=True)), states, drive=drive)
    with pytest.raises(ContractError, match="not deterministic"):
        check_dynamics(stepped(Restless()), states, drive=drive)


def test_unknown_widths_and_wrong_outputs_are_refused():
    with pytest.raises(InputError, match="does not say its hidden_size: pass dim="):
        stepped(nn.Bilinear(2, 3, 3))
    with pytest.raises(InputError, match="must return the next state"):
        stepped(nn.Bilinear(2, 3, 4), dim=3, inputs=2)
    assert stepped(nn.Bilinear(2, 3, 3), dim=3, inputs=2).dim == 3
