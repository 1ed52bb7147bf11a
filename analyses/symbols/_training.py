"""The training loop of almost-linear networks: many models as the rows of one parameter matrix, in resumable states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.optim.radam import radam

from analyses.symbols._orbit_divergence import Divergence
from analyses.symbols._teacher_forcing import Room, Weights, loss_and_gradient

Form = Literal["almost linear", "shallow", "clipped shallow"]
BETAS = (0.9, 0.999)
ALLOWED = 0.05  # A + diag W up to which the authors' regulariser is 0: 1 - eps with their eps = 0.95
ANNEAL_EVERY, ANNEAL_RATE = 5, 0.999  # Hess et al.: batches between estimates; how slowly alpha falls


@dataclass(frozen=True)
class TeacherForcing:
    """How to train; the defaults are the authors' for Lorenz.

    Parameters
    ----------
    steps
        Updates; their 2000 epochs of 50.
    every
        tau: the readout is replaced by data every so many steps. 1 for generalised forcing.
    alpha
        Share of the data in the forced readout; 1 is identity forcing. "annealed": generalised forcing by the running estimate
        max(0, 1 - 1 / N), N the product upper bound of the Jacobians' norms, from 1 down.
    length, batch
        Steps predicted in one sequence; sequences an update and a model, each drawn uniformly from the recording.
    learning_rates
        First and last; the decay between them is exponential.
    noise
        Standard deviation of Gaussian noise on the data that enter the model, in the recording's units; targets have none.
    regularisation
        Weight of |relu(A + diag W - 0.05)|_2 in the loss.
    """

    steps: int = 100_000
    every: int = 16
    alpha: float | Literal["annealed"] = 1.0
    length: int = 200
    batch: int = 16
    learning_rates: tuple[float, float] = (1e-3, 1e-5)
    noise: float = 0.05
    regularisation: float = 0.0


@dataclass(frozen=True, eq=False)
class Training:
    """Where a fit stands after an update: enough to go on bit for bit. A number, and tensors of fixed shapes, none shared.

    ``parameters``, ``first`` and ``second`` (RAdam's moments) and ``best`` are (models, parameters) in the training's dtype;
    ``losses`` (mean since the save before) and ``divergences`` are (saves, models), NaN where still to come; ``loss`` (models,)
    sums what the next save will average; ``random`` is the generator's state.
    """

    step: int
    parameters: Tensor
    first: Tensor
    second: Tensor
    alpha: Tensor
    loss: Tensor
    best: Tensor
    losses: Tensor
    divergences: Tensor
    random: Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """How a model's parameters lie in a row: A, W, h, L and, with a hidden layer, V, g."""

    form: Form
    outputs: int
    latent: int
    relu: tuple[int, ...]
    dtype: torch.dtype

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        units = self.latent if self.form == "almost linear" else max(self.relu)
        shapes = {"A": (self.latent,), "W": (self.latent, units), "h": (self.latent,)}
        shapes["L"] = (self.latent - self.outputs, self.outputs)
        return shapes if self.form == "almost linear" else {**shapes, "V": (units, self.latent), "g": (units,)}

    def parts(self, rows: Tensor) -> dict[str, Tensor]:
        """Views of (models, parameters), by name."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        pieces = rows.split(sizes, dim=1)
        return {
            name: piece.unflatten(1, shape) if len(shape) > 1 else piece
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Start of training (models, parameters).

        A is the diagonal of K over its largest eigenvalue, K = R'R / dim + 1; other matrices are Gaussian, of standard
        deviation 0.01 for W of the almost-linear form and 1 / sqrt(columns) else; h = 0 and g is standard normal.
        """
        models, latent = len(self.relu), self.latent

        def gaussian(*shape: int) -> Tensor:
            return torch.randn(models, *shape, generator=generator, dtype=torch.float64)

        R = gaussian(latent, latent)
        K = R.mT @ R / latent + torch.eye(latent, dtype=torch.float64)
        start = {"A": torch.diagonal(K, dim1=1, dim2=2) / torch.linalg.eigvalsh(K)[:, -1:]}
        for name, shape in list(self.shapes.items())[1:]:
            size = 0.01 if name == "W" and self.form == "almost linear" else 1 / math.sqrt(max(shape[-1], 1))
            start[name] = gaussian(*shape) * {"h": 0.0, "g": 1.0}.get(name, size)
        return torch.cat([part.flatten(1) for part in start.values()], 1).to(self.dtype)

    def weights(self, rows: Tensor) -> Weights:
        """What the recurrence runs on; a clipped layer is two, the second of opposite sign and without offset."""
        at = self.parts(rows)
        if self.form == "almost linear":
            units = torch.arange(self.latent)
            linear = units < self.latent - torch.tensor(self.relu)[:, None]
            floor = torch.where(linear, -torch.inf, 0.0).to(rows)
            return Weights(at["A"], at["W"], at["h"], floor)
        W, V, g = at["W"], at["V"], at["g"]
        if self.form == "clipped shallow":
            W, V, g = torch.cat([W, -W], 2), torch.cat([V, V], 1), torch.cat([g, torch.zeros_like(g)], 1)
        return Weights(at["A"], W, at["h"], torch.zeros_like(g), V, g)

    def gradient(self, slopes: Weights, L: Tensor) -> Tensor:
        """(models, parameters), from the slopes of the recurrence's weights and of L."""
        W, V, g = slopes.W, slopes.V, slopes.g
        if V is not None and g is not None and self.form == "clipped shallow":
            units = V.shape[1] // 2
            W, V, g = W[..., :units] - W[..., units:], V[:, :units] + V[:, units:], g[:, :units]
        return torch.cat([w.flatten(1) for w in (slopes.A, W, slopes.h, L, V, g) if w is not None], 1)

    def start(self, rows: Tensor, observed: Tensor) -> Tensor:
        """[x; L x] of x (models, batch, outputs)."""
        return torch.cat([observed, observed @ self.parts(rows)["L"].mT], 2)


@dataclass(frozen=True, eq=False)
class Recording:
    """Data (outputs, points), where windows may begin, and how orbits are judged."""

    data: Tensor
    begins: Tensor
    divergence: Divergence
    orbit: int
    burn_in: int


def begun(layout: Layout, recipe: TeacherForcing, saves: int, generator: torch.Generator) -> Training:
    """The state before the first update."""
    rows = layout.drawn(generator)
    models = len(rows)
    history = torch.full((saves, models), torch.nan, dtype=torch.float64)
    return Training(
        step=0,
        parameters=rows,
        first=torch.zeros_like(rows),
        second=torch.zeros_like(rows),
        alpha=torch.full((models,), 1.0 if recipe.alpha == "annealed" else recipe.alpha, dtype=rows.dtype),
        loss=torch.zeros(models, dtype=torch.float64),
        best=rows.clone(),
        losses=history,
        divergences=history.clone(),
        random=generator.get_state(),
    )


def trained(
    state: Training, layout: Layout, recipe: TeacherForcing, recording: Recording, select_every: int
) -> Iterator[Training]:
    """One state an update, from the given one to the end of the schedule."""
    generator = torch.Generator()
    generator.set_state(state.random)
    room = Room.of(layout.weights(state.parameters), layout.outputs, recipe.length, recipe.batch)
    first, last = recipe.learning_rates
    while state.step < recipe.steps:
        loss, gradient, alpha = batch_gradient(state, layout, recipe, recording, generator, room)
        rows, moments = state.parameters.clone(), [state.first.clone(), state.second.clone()]
        radam(
            [rows], [gradient], [moments[0]], [moments[1]], [torch.tensor(float(state.step))],
            foreach=False, beta1=BETAS[0], beta2=BETAS[1], weight_decay=0.0, eps=1e-8,
            lr=first * (last / first) ** (state.step / max(recipe.steps - 1, 1)),
        )  # fmt: skip
        state = replace(
            state, step=state.step + 1, parameters=rows, first=moments[0], second=moments[1], alpha=alpha,
            loss=state.loss + loss.double(), random=generator.get_state(),
        )  # fmt: skip
        if state.step % select_every == 0 or state.step == recipe.steps:
            state = saved(state, layout, recording, select_every)
        yield state


def saved(state: Training, layout: Layout, recording: Recording, select_every: int) -> Training:
    """The state with its models judged by their orbits: the best so far are kept."""
    number = max(-(-state.step // select_every) - 1, 0)
    divergence = torch.from_numpy(recording.divergence(orbits(state.parameters, layout, recording).numpy()))
    before = state.divergences.nan_to_num(torch.inf).amin(0)
    best = torch.where((divergence < before)[:, None], state.parameters, state.best)
    losses, divergences = state.losses.clone(), state.divergences.clone()
    losses[number] = state.loss / max(state.step - number * select_every, 1)
    divergences[number] = divergence
    return replace(state, best=best, losses=losses, divergences=divergences, loss=torch.zeros_like(state.loss))


def orbits(rows: Tensor, layout: Layout, recording: Recording) -> Tensor:
    """Readouts (models, orbit, outputs) of free runs from the first recorded state, in float64, past the burn-in."""
    weights = layout.weights(rows)
    observed = recording.data[:, 0].expand(len(rows), 1, -1)
    z, wide = layout.start(rows, observed), weights.wide(1)
    said = z.new_empty(recording.orbit, len(rows), layout.outputs)
    for t in range(-recording.burn_in, recording.orbit):
        r = torch.maximum(z if wide.V is None or wide.g is None else torch.baddbmm(wide.g, z, wide.V), wide.floor)
        z = torch.baddbmm(wide.h, r, wide.W).addcmul_(wide.A, z)
        if t >= 0:
            said[t] = z[:, 0, : layout.outputs]
    return said.movedim(0, 1).double()


def batch_gradient(
    state: Training,
    layout: Layout,
    recipe: TeacherForcing,
    recording: Recording,
    generator: torch.Generator,
    room: Room,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (models,), gradient (models, parameters) and the next alpha (models,) of one drawn batch."""
    models, data = len(state.parameters), recording.data
    window = torch.arange(recipe.length + 1)
    forced = window[recipe.every : recipe.length : recipe.every]
    chosen = torch.randint(len(recording.begins), (models, 1, recipe.batch), generator=generator)
    begin = recording.begins[chosen]
    inputs = data[:, begin + torch.cat([window[:1], forced])[:, None]]
    if recipe.noise:
        inputs.add_(torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype), alpha=recipe.noise)
    targets = data[:, begin + window[1:, None]]
    observed = inputs[:, :, 0].movedim(0, -1)

    weights = layout.weights(state.parameters)
    start = layout.start(state.parameters, observed)
    loss, slopes, by_start = loss_and_gradient(
        weights, start, inputs[:, :, 1:], targets, every=recipe.every, alpha=state.alpha, room=room
    )
    gradient = layout.gradient(slopes, by_start[..., layout.outputs :].mT @ observed)
    if recipe.regularisation:
        excess = (weights.A + torch.diagonal(weights.W, dim1=1, dim2=2) - ALLOWED).clamp(min=0)
        size = excess.norm(dim=1, keepdim=True)
        loss = loss + recipe.regularisation * size[:, 0]
        pull = recipe.regularisation * excess / size.clamp(min=torch.finfo(size.dtype).tiny)
        parts = layout.parts(gradient)
        parts["A"].add_(pull)
        torch.diagonal(parts["W"], dim1=1, dim2=2).add_(pull)
    alpha = state.alpha
    if recipe.alpha == "annealed" and state.step % ANNEAL_EVERY == 0:
        estimate = forcing_needed(weights, room, targets)
        alpha = torch.where(estimate > alpha, estimate, ANNEAL_RATE * alpha + (1 - ANNEAL_RATE) * estimate)
    return loss, gradient, alpha


def forcing_needed(weights: Weights, room: Room, targets: Tensor) -> Tensor:
    """alpha* = max(0, 1 - 1 / N) (models,), N the product upper bound (Hess et al., ICML 2023): the geometric mean of the
    Jacobians' spectral norms along a sequence, largest over the batch.

    Jacobians are taken where the readout equals the data; entries beyond it, of which there are no data, are the model's own.
    """
    z = room.z[:, 1:].clone()
    z[..., : len(targets)] = targets.movedim(0, -1)
    logs = []
    for model, states in enumerate(z):
        u = states if weights.V is None or weights.g is None else states @ weights.V[model].T + weights.g[model]
        gates, region = (u > weights.floor[model]).flatten(0, 1).unique(dim=0, return_inverse=True)
        inner = weights.W[model] * gates[:, None]
        jacobians = torch.diag(weights.A[model]) + (inner if weights.V is None else inner @ weights.V[model])
        finite = torch.isfinite(jacobians).all()
        norms = torch.linalg.matrix_norm(jacobians, 2) if finite else jacobians.new_full((len(gates),), torch.inf)
        logs.append(norms.log()[region].view(states.shape[:2]).mean(0).amax())
    return (1 - torch.exp(-torch.stack(logs))).clamp(min=0)
