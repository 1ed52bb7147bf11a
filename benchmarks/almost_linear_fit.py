"""Training almost-linear RNNs: time of an update, by hand-derived gradient and by autograd, for one model and for many.

    python -m benchmarks.almost_linear_fit

The peer is the plain loop over time with autograd and torch's RAdam, as published Python code has it for one model, and the
same over a batch of models. Both draw their sequences and take their step; 20 units, P = 2, tau = 16, 16 sequences of 200
steps, float32. CPU time of one thread, smallest of several blocks of updates taken in turn, so that other work on the machine
weighs little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from analyses.symbols._training import Layout, Recording, TeacherForcing, begun, trained
from benchmarks._table import machine, table, write_section

RECIPE = TeacherForcing()
LATENT, OUTPUTS, RELU = 20, 3, 2
BLOCKS, UPDATES = 7, 5


def eager(models: int, data: Tensor) -> Iterator[None]:
    """Updates by autograd; data is (steps, outputs)."""
    layout = Layout("almost linear", OUTPUTS, LATENT, (RELU,) * models, torch.float32)
    generator = torch.Generator().manual_seed(0)
    rows = layout.drawn(generator).requires_grad_()
    radam = torch.optim.RAdam([rows], lr=RECIPE.learning_rates[0])
    window = torch.arange(RECIPE.length + 1)[:, None]
    cut = LATENT - RELU
    while True:
        begins = torch.randint(len(data) - RECIPE.length, (models, 1, RECIPE.batch), generator=generator)
        targets = data[begins + window]
        inputs = targets + RECIPE.noise * torch.randn(targets.shape, generator=generator)
        parts = layout.parts(rows)
        A, W, h, L = parts["A"][:, None], parts["W"].mT, parts["h"][:, None], parts["L"].mT
        z = torch.cat([inputs[:, 0], inputs[:, 0] @ L], 2)
        said = []
        for t in range(RECIPE.length):
            if t and t % RECIPE.every == 0:
                z = torch.cat([inputs[:, t], z[..., OUTPUTS:]], 2)
            z = A * z + torch.cat([z[..., :cut], torch.relu(z[..., cut:])], 2) @ W + h
            said.append(z[..., :OUTPUTS])
        loss = (torch.stack(said, 1) - targets[:, 1:]).square().mean((1, 2, 3)).sum()
        radam.zero_grad()
        loss.backward()
        radam.step()
        yield


def by_hand(models: int, data: Tensor) -> Iterator[object]:
    """Updates as ``fit_almost_linear`` takes them, without its saves."""
    layout = Layout("almost linear", OUTPUTS, LATENT, (RELU,) * models, torch.float32)
    begins = torch.arange(len(data) - RECIPE.length)
    recording = Recording(data.T.contiguous(), begins, lambda orbits: np.zeros(models), 1, 0)
    state = begun(layout, RECIPE, 1, torch.Generator().manual_seed(0))
    return trained(state, layout, RECIPE, recording, RECIPE.steps)


def milliseconds(updates: Iterator[object]) -> float:
    """CPU time of an update, mean over a block."""
    begin = time.process_time()
    for _ in range(UPDATES):
        next(updates)
    return 1000 * (time.process_time() - begin) / UPDATES


def main() -> None:
    """Time all in turn, print the table and write it to RESULTS.md."""
    torch.set_num_threads(1)
    data = torch.from_numpy(np.random.default_rng(0).standard_normal((20_000, OUTPUTS))).float()
    tools: tuple[tuple[str, Callable[[int, Tensor], Iterator[object]], int], ...] = (
        ("autograd loop", eager, 1),
        ("autograd loop", eager, 40),
        *(("this toolkit", by_hand, models) for models in (1, 10, 40)),
    )
    running = [make(models, data) for _, make, models in tools]
    for updates in running:
        next(updates)
    times = np.array([[milliseconds(updates) for updates in running] for _ in range(BLOCKS)]).min(axis=0)
    rows = [
        [name, str(models), f"{took:.1f}", f"{took / models:.2f}", f"{took / times[0]:.2f}"]
        for (name, _, models), took in zip(tools, times, strict=True)
    ]
    page = table(["gradient", "models", "update, ms", "a model, ms", "against one by autograd"], rows)
    print(page)
    note = "20 units, P = 2, tau = 16, batch 16, 200 steps, float32; CPU time, smallest of 7 blocks of 5 updates."
    write_section("Training of almost-linear RNNs", f"{page}\n\n{note} {machine()}.")


if __name__ == "__main__":
    main()
