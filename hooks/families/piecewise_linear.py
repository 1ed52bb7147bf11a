"""Almost-linear RNNs as maps: z' = A z + W phi(z) + h, with phi = ReLU on the last ``relu`` units, identity before.

Source: Brenner, Hemmer, Monfared, Durstewitz, "Almost-linear recurrent neural networks provide highly interpretable
symbolic codes in dynamical systems reconstruction" (NeurIPS 2024). ``relu = dim`` is the piecewise-linear RNN.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import linear

from hooks.dynamics import Dynamics, TensorLike, digest
from hooks.errors import InputError
from hooks.families._parts import times


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """The weights of an almost-linear RNN; ``dynamics()`` is its map.

    Parameters
    ----------
    A : (dim,)
        Diagonal of the linear part.
    W : (dim, dim)
    h : (dim,)
    relu
        P, the number of rectified units: the last P of the state, 0 to dim. The weights do not say it.
    outputs
        The readout is the first ``outputs`` units (identity observation); all of them when 0.
    B : (observed, dim)
        Linear observation: the readout is B z. It leaves ``outputs`` no say, which stays 0.

    Raises
    ------
    InputError
        When the shapes do not fit one another, or relu or outputs lies outside 0 to dim.
    """

    A: Tensor
    W: Tensor
    h: Tensor
    relu: int
    outputs: int = 0
    B: Tensor | None = None

    def __post_init__(self) -> None:
        dim = self.A.numel()
        if self.A.ndim != 1 or self.W.shape != (dim, dim) or self.h.shape != (dim,):
            raise InputError(
                f"an almost-linear RNN has A (dim,), W (dim, dim) and h (dim,), but {tuple(self.A.shape)}, "
                f"{tuple(self.W.shape)} and {tuple(self.h.shape)} came"
            )
        if not 0 <= self.relu <= dim or not 0 <= self.outputs <= dim:
            raise InputError(f"relu={self.relu} and outputs={self.outputs} must lie in 0 to dim={dim}")
        if self.B is not None and (self.B.ndim != 2 or self.B.shape[1] != dim or self.outputs):
            raise InputError(
                f"the observation B is (observed, {dim}) and comes without outputs, but {tuple(self.B.shape)} and "
                f"outputs={self.outputs} came"
            )

    def regions(self, states: Float[Tensor, "batch dim"]) -> Bool[Tensor, "batch relu"]:
        """Which rectified units are on: the linear region a state lies in."""
        return states[:, len(self.A) - self.relu :] > 0

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as an autonomous map with its exact Jacobian diag(A) + W diag(1, .., 1, bits)."""
        A, W, h = (w.detach().to(dtype=dtype, device=device, copy=True) for w in (self.A, self.W, self.h))
        dim, outputs = len(A), self.outputs or len(A)
        B = None if self.B is None else self.B.detach().to(dtype=dtype, device=device, copy=True)
        cut = dim - self.relu

        def step(states: TensorLike, _: object) -> TensorLike:
            rectified = torch.cat([states[..., :cut], torch.relu(states[..., cut:])], dim=-1)
            return A * states + linear(rectified, W, h)

        def jacobian(states: Tensor, _: object) -> Tensor:
            gates = torch.cat([torch.ones_like(states[..., :cut]), (states[..., cut:] > 0).to(dtype)], dim=-1)
            return torch.diag(A) + W * gates[..., None, :]

        def push(states: Tensor, tangents: Tensor, _: object) -> tuple[Tensor, Tensor]:
            gates = torch.cat([torch.ones_like(states[..., :cut]), (states[..., cut:] > 0).to(dtype)], dim=-1)
            return step(states, None), A[:, None] * tangents + times(W, gates[..., None] * tangents)

        return Dynamics(
            step=step,
            dim=dim,
            name=f"almost-linear RNN, {dim} units, {self.relu} rectified",
            dtype=dtype,
            device=device,
            jacobian=jacobian,
            push=push,
            readout=lambda states: states[..., :outputs] if B is None else linear(states, B),
            fingerprint=digest(A, W, h, self.relu, outputs, B),
            weights={"family": "almost linear", **{name: w for name, w in vars(self).items() if w is not None}},
        )


@dataclass(frozen=True, eq=False)
class ShallowPiecewiseLinear:
    """The weights of a shallow PLRNN, z' = A z + W1 relu(W2 z + h2) + h1; ``lifted()`` is it as an almost-linear RNN.

    Source: Hess, Monfared, Brenner, Durstewitz, "Generalized teacher forcing for learning chaotic dynamics" (ICML 2023), eq. 3.

    Parameters
    ----------
    A : (dim,)
        Diagonal of the linear part.
    W1 : (dim, hidden)
    W2 : (hidden, dim)
    h1 : (dim,)
    h2 : (hidden,)
    clipped
        relu(W2 z + h2) - relu(W2 z) stands in place of relu(W2 z + h2), which keeps orbits bounded where every |A| < 1.

    Raises
    ------
    InputError
        When the shapes do not fit one another.
    """

    A: Tensor
    W1: Tensor
    W2: Tensor
    h1: Tensor
    h2: Tensor
    clipped: bool = False

    def __post_init__(self) -> None:
        dim, hidden = self.A.numel(), self.h2.numel()
        shapes = tuple(tuple(w.shape) for w in (self.A, self.W1, self.W2, self.h1, self.h2))
        if shapes != ((dim,), (dim, hidden), (hidden, dim), (dim,), (hidden,)):
            raise InputError(
                f"a shallow PLRNN has A (dim,), W1 (dim, hidden), W2 (hidden, dim), h1 (dim,) and h2 (hidden,), but "
                f"{', '.join(map(str, shapes))} came"
            )

    def lifted(self) -> PiecewiseLinear:
        """The almost-linear RNN of state [z, W2 z + h2], clipped [z, W2 z + h2, W2 z], whose readout is z.

        It has the same orbits and cycles, and the same eigenvalues but for further zeros. Its weights W2 A, W2 W1 and
        W2 h1 + h2 are rounded to float64, so what is proved of it holds for weights that differ from the given ones by that.
        """
        A, W1, W2, h1, h2 = (w.detach().double().cpu() for w in (self.A, self.W1, self.W2, self.h1, self.h2))
        if self.clipped:
            W1, W2, h2 = torch.cat([W1, -W1], 1), torch.cat([W2, W2]), torch.cat([h2, torch.zeros_like(h2)])
        dim, hidden = len(A), len(h2)
        W = torch.cat([torch.cat([A.new_zeros(dim, dim), W1], 1), torch.cat([W2 * A, W2 @ W1], 1)])
        return PiecewiseLinear(torch.cat([A, A.new_zeros(hidden)]), W, torch.cat([h1, W2 @ h1 + h2]), hidden, dim)

    def states(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch lifted"]:
        """States of ``lifted()`` that go with states of the network."""
        hidden = linear(z, self.W2.double(), self.h2.double())
        return torch.cat([z, hidden, *((linear(z, self.W2.double()),) if self.clipped else ())], dim=1)
