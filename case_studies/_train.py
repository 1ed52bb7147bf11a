"""What the studies share of fitting: training from a seed, ridge regression, and the weights that came of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from hooks.watch import Watch, quiet

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Reader(nn.Module):
    """A torch recurrent layer (batch_first) and a linear readout of its last layer's h."""

    def __init__(self, rnn: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.readout = nn.Linear(rnn.hidden_size, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """(runs, steps, inputs) -> (runs, steps, outputs), from the zero state."""
        return self.readout(self.rnn(inputs)[0])


def shipped_weights(name: str) -> dict[str, Tensor]:
    """What an earlier training gave: the tensors of ``weights/name.safetensors``."""
    return load((files("case_studies") / "weights" / f"{name}.safetensors").read_bytes())


def ridge_regression(features: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """(features + 1, ...) weights from (samples, features) to (samples, ...), the offset last and penalised like the others.

    ``ridge`` is the penalty beside the mean square, so it does not depend on the number of samples.
    """
    full = np.column_stack([features, np.ones(len(features))])
    return np.linalg.solve(full.T @ full + ridge * len(full) * np.eye(full.shape[1]), full.T @ targets)


@dataclass(frozen=True)
class Epoch:
    """How far training has come."""

    updates: int
    loss: float


def train(
    make: Callable[[], nn.Module],
    draw: Draw,
    *,
    seed: int,
    updates: int,
    goal: float = 0.0,
    learning_rate: float = 1e-2,
    clip: float = 1.0,
    loss: Loss = nn.functional.mse_loss,
    watch: Watch = quiet,
) -> tuple[nn.Module, Epoch]:
    """A trained module in eval mode without gradients, and its last loss.

    Parameters
    ----------
    make
        Builds the module; called once with torch's global generator forked and seeded, so the caller's is untouched.
    draw
        generator -> (inputs, targets), a fresh batch an update.
    goal
        Stop once the loss, averaged over the last 20 updates, is below this.
    loss
        (the module's outputs, targets) -> what is minimised; the mean squared error when left out.

    Notes
    -----
    Adam on the loss, gradient norm clipped at ``clip``, cosine decay of the rate over ``updates``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    generator = torch.Generator().manual_seed(seed)
    epoch = Epoch(0, float("inf"))
    for epoch in watch(_updates(module, draw, generator, updates, goal, learning_rate, clip, loss), updates):
        pass
    return module.eval().requires_grad_(False), epoch


def _updates(
    module: nn.Module,
    draw: Draw,
    generator: torch.Generator,
    updates: int,
    goal: float,
    rate: float,
    clip: float,
    loss: Loss,
) -> Iterator[Epoch]:
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates, eta_min=rate / 100)
    smooth = 1.0
    for update in range(1, updates + 1):
        inputs, targets = draw(generator)
        optimiser.zero_grad()
        error = loss(module(inputs), targets)
        error.backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimiser.step()
        schedule.step()
        smooth += (error.item() - smooth) / 20
        yield Epoch(update, smooth)
        if smooth < goal:
            return
