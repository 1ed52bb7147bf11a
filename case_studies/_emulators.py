"""Recurrent networks that turn Gaussian noise into the symbols of a hidden Markov process, trained on its sequences alone.

h_t = relu(W_hh h_(t-1) + W_ih x_t) without biases, from h_0 = 0, x_t ~ N(0, I); logits W_out h_t. Sequences are drawn by the
straight-through Gumbel softmax at temperature 1 and compared with sequences of the process by the debiased Sinkhorn divergence
of whole batches (ground cost: half the squared distance of one-hot sequences, which is the number of symbols that differ).
Adam with betas (0.9, 0.9), gradient norm clipped. Source: Torre et al., RNNs emulating hidden Markov models (2025), its code
(EliaTorre/hmmrnn, MIT) for the settings; the divergence is that of Feydy et al., AISTATS 2019, with its annealed, symmetric
updates written here in the log domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import one_hot

from case_studies._processes import HiddenProcess
from case_studies._train import Epoch, Reader, shipped_weights
from hooks.watch import Watch, quiet

SYMBOLS = 3
BLUR = 0.2  # the paper's: the temperature is its square


def linear_chain(states: int = 2) -> HiddenProcess:
    """The paper's chain: neighbours exchange with probability 0.05^(1/(states - 1)), symbols go from the first to the last."""
    q = 0.05 ** (1 / (states - 1))
    move = q * (np.eye(states, k=1) + np.eye(states, k=-1))
    move += np.diag(1 - move.sum(axis=1))
    share = np.linspace(0, 1, states)[:, None]
    return _process(f"linear chain of {states}", move, (1 - share) * [0.99, 0.01, 0.0] + share * [0.0, 0.01, 0.99])


def cycle() -> HiddenProcess:
    """The paper's ring of four states: stay with 0.95, and to each neighbour with 0.025."""
    ring = np.roll(np.eye(4), 1, axis=1)
    heard = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9], [0.0, 0.9, 0.1]])
    return _process("cycle of 4", 0.95 * np.eye(4) + 0.025 * (ring + ring.T), heard)


def fully_connected() -> HiddenProcess:
    """The paper's three states, each announced by its own symbol with 0.98: stay with 0.95, and to each other with 0.025."""
    return _process("fully connected 3", 0.025 + 0.925 * np.eye(3), 0.01 + 0.97 * np.eye(3))


def _process(name: str, move: np.ndarray, heard: np.ndarray) -> HiddenProcess:
    """The symbol is that of the state left."""
    return HiddenProcess(name, np.einsum("ij,ix->xij", move, heard))


@dataclass(frozen=True)
class Recipe:
    """How an emulator is trained."""

    units: int = 50
    inputs: int = 10
    length: int = 40
    batch: int = 512
    updates: int = 6000
    rate: float = 1e-3
    clip: float = 0.9
    seed: int = 0


def emulator(recipe: Recipe) -> Reader:
    """The network before training: torch's default weights, from the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        rnn = nn.RNN(recipe.inputs, recipe.units, nonlinearity="relu", bias=False, batch_first=True)
        module = Reader(rnn, SYMBOLS)
        module.readout = nn.Linear(recipe.units, SYMBOLS, bias=False)
    return module


def shipped_emulator(name: str, recipe: Recipe) -> Reader:
    """The network that an earlier training gave: ``weights/name.safetensors``."""
    module = emulator(recipe)
    module.load_state_dict(shipped_weights(name))
    return module.eval().requires_grad_(False)


def sinkhorn_divergence(drawn: Tensor, heard: Tensor, blur: float = BLUR) -> Tensor:
    """Of two clouds (points, coordinates), of equal weights, at cost |x - y|^2 / 2; differentiable in ``drawn``.

    The value is that of the potentials; the gradient is that of the cost under the plan, which is the same at the optimum.
    """
    with torch.no_grad():
        across, own, others = _cost(drawn, heard), _cost(drawn, drawn), _cost(heard, heard)
        widest = max(blur**2, *(float(cost.max()) for cost in (across, own, others)))
        schedule = [widest, *np.exp(np.arange(log(widest), 2 * log(blur), -2 * log(2))), blur**2]
        f, g = torch.zeros(len(drawn)).to(drawn), torch.zeros(len(heard)).to(drawn)
        a, b = f.clone(), g.clone()
        for temperature in schedule:
            f, g = (
                (f + _softmin(across, g, temperature)) / 2,
                (g + _softmin(across.T, f, temperature)) / 2,
            )
            a = (a + _softmin(own, a, temperature)) / 2
            b = (b + _softmin(others, b, temperature)) / 2
        f, g = _softmin(across, g, temperature), _softmin(across.T, f, temperature)
        a, b = _softmin(own, a, temperature), _softmin(others, b, temperature)
        value = (f - a).mean() + (g - b).mean()
        pull = _plan(own, a, temperature) @ drawn - _plan(across, g, temperature) @ heard
    return value + (pull * (drawn - drawn.detach())).sum() / len(drawn)


def train_emulator(
    process: HiddenProcess, recipe: Recipe, *, checkpoint: Path | None = None, watch: Watch = quiet
) -> Reader:
    """The trained network. A ``checkpoint`` is written every hundred updates and gone on from where it exists."""
    module = emulator(recipe)
    for _ in watch(_updates(module, process, recipe, checkpoint), recipe.updates):
        pass
    return module.eval().requires_grad_(False)


def write_emulator(module: Reader, path: Path) -> None:
    """What ``shipped_emulator`` reads."""
    save_file({name: tensor.float().contiguous() for name, tensor in module.state_dict().items()}, path)


def spoken(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One-hot symbols drawn by the Gumbel softmax at temperature 1; gradients pass through the soft ones."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype).clamp(1e-20, 1 - 1e-7)
    soft = torch.softmax(logits - torch.log(-torch.log(uniform)), dim=-1)
    hard = one_hot(soft.argmax(-1), logits.shape[-1]).to(soft)
    return hard + (soft - soft.detach())


def _updates(module: Reader, process: HiddenProcess, recipe: Recipe, checkpoint: Path | None) -> Iterator[Epoch]:
    optimiser = torch.optim.Adam(module.parameters(), lr=recipe.rate, betas=(0.9, 0.9))
    generator = torch.Generator().manual_seed(recipe.seed)
    done, smooth = 0, float("nan")
    if checkpoint is not None and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        done, smooth = kept["done"], kept["smooth"]
        module.load_state_dict(kept["weights"])
        optimiser.load_state_dict(kept["optimiser"])
        generator.set_state(kept["generator"])
    for update in range(done + 1, recipe.updates + 1):
        noise = torch.randn(recipe.batch, recipe.length, recipe.inputs, generator=generator)
        heard = one_hot(process.sample(runs=recipe.batch, steps=recipe.length, generator=generator), SYMBOLS).float()
        drawn = spoken(module(noise), generator)
        loss = sinkhorn_divergence(drawn.flatten(1), heard.flatten(1))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        optimiser.step()
        smooth = loss.item() if smooth != smooth else smooth + (loss.item() - smooth) / 20
        if checkpoint is not None and update % 100 == 0:
            kept = {"done": update, "smooth": smooth, "weights": module.state_dict()}
            torch.save({**kept, "optimiser": optimiser.state_dict(), "generator": generator.get_state()}, checkpoint)
        yield Epoch(update, smooth)


def _cost(x: Tensor, y: Tensor) -> Tensor:
    return (x.square().sum(1)[:, None] + y.square().sum(1)) / 2 - x @ y.T


def _softmin(cost: Tensor, potential: Tensor, temperature: float) -> Tensor:
    """-T ln mean_j exp((potential_j - cost_ij) / T)."""
    return -temperature * (torch.logsumexp((potential - cost) / temperature, dim=1) - log(cost.shape[1]))


def _plan(cost: Tensor, potential: Tensor, temperature: float) -> Tensor:
    """(rows, columns): where each row's mass goes, rows summing to 1."""
    return torch.softmax((potential - cost) / temperature, dim=1)
