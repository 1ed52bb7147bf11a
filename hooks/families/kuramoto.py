"""Networks of Kuramoto oscillators: unit vectors that turn, and pull each other along the sphere.

One step of oscillator i, a unit vector of ``width`` numbers: x_i' = N(x_i + rate (Omega_i x_i + P_i(c_i + sum_j J_ij x_j))), N
the division by the length and P_i the part at right angles to x_i; c is the stimulus and the drive (Miyato, Loewe, Geiger and
Welling, "Artificial Kuramoto Oscillatory Neurons", ICLR 2025, arXiv 2410.13821, eqs. 2 and 3). In two dimensions, with a mean
field for J, this is Kuramoto's model of 1975 under Euler steps of ``rate`` and projection.

Since only directions count, one exponent an oscillator is minus infinity on the sphere. Where J is symmetric and nothing turns,
the energy -x.Jx/2 - c.x falls along the flow, and so in steps that are small enough; of a trained J neither need hold.

States are (batch, oscillators x width); a step costs a product with J.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.dynamics import Dynamics, TensorLike, digest
from hooks.errors import InputError

LEAST = 1e-300  # length below which a vector has no direction


@dataclass(frozen=True, eq=False)
class Kuramoto:
    """The weights of a network of oscillators; ``dynamics()`` is its map.

    Parameters
    ----------
    coupling : (dim, dim)
        J, dim = oscillators x width.
    turning : (oscillators, width, width)
        Omega, each antisymmetric.
    rate
        gamma, above 0.

    Raises
    ------
    InputError
        When the shapes do not fit, a turning is not antisymmetric to 1e-6 of its size, or the rate is not above 0.
    """

    coupling: Tensor
    turning: Tensor
    rate: float

    def __post_init__(self) -> None:
        dim = self.turning.shape[0] * self.turning.shape[-1] if self.turning.ndim == 3 else 0
        if not dim or self.turning.shape[1] != self.turning.shape[2] or self.coupling.shape != (dim, dim):
            raise InputError(
                f"oscillators of one width have turning (oscillators, width, width) and coupling (oscillators x width) twice, "
                f"but {tuple(self.turning.shape)} and {tuple(self.coupling.shape)} came"
            )
        skew = float((self.turning + self.turning.mT).abs().max())
        if skew > 1e-6 * max(1.0, float(self.turning.abs().max())):
            raise InputError(f"a turning is antisymmetric, but one differs from minus its transpose by {skew:.2g}")
        if not self.rate > 0:
            raise InputError(f"the rate is above 0, but {self.rate} came")

    @property
    def width(self) -> int:
        """Numbers of an oscillator."""
        return self.turning.shape[-1]

    def dynamics(self, *, name: str = "Kuramoto oscillators") -> Dynamics:
        """The map in float64, driven by the stimulus (dim,)."""
        J, turning = self.coupling.detach().double().cpu(), self.turning.detach().double().cpu()
        width, rate, dim = self.width, self.rate, len(J)

        def step(states: TensorLike, stimulus: Tensor) -> TensorLike:
            x = states.reshape(-1, dim // width, width)
            pull = (stimulus + states @ J.T).reshape(-1, dim // width, width)
            turned = (turning @ x[..., None])[..., 0]
            moved = x + rate * (turned + pull - (pull * x).sum(-1, keepdim=True) * x)
            return (moved / moved.square().sum(-1, keepdim=True).sqrt().clamp_min(LEAST)).reshape(-1, dim)

        return Dynamics(
            step,
            dim=dim,
            name=name,
            clock="iteration",
            driven=True,
            inputs=dim,
            fingerprint=digest(J, turning, rate),
        )

    def starts(self, count: int, *, generator: torch.Generator) -> Float[Tensor, "count dim"]:
        """Oscillators of random directions."""
        x = torch.randn(count, *self.turning.shape[:2], generator=generator, dtype=torch.float64)
        return (x / x.norm(dim=-1, keepdim=True)).flatten(1)

    def energy(self, states: Tensor, stimulus: Tensor) -> Float[Tensor, " batch"]:
        """-x.Jx/2 - c.x of (batch, dim) states under a stimulus (dim,) or (batch, dim)."""
        pull = states @ self.coupling.detach().double().cpu().T
        return -(states * pull).sum(-1) / 2 - (states * stimulus).sum(-1)

    def order(self, states: Tensor) -> Float[Tensor, " batch"]:
        """Kuramoto's order parameter, the length of the oscillators' mean: 1 in synchrony."""
        return states.reshape(len(states), -1, self.width).mean(1).norm(dim=-1)
