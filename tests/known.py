"""Systems with known answers, written out here and never imported from the code under test."""

import numpy as np
import torch

from hooks.dynamics import Dynamics
from hooks.families import flow


def henon(a: float = 1.4, b: float = 0.3) -> Dynamics:
    """x' = 1 - a x^2 + y, y' = b x: two saddles, one 2-cycle, determinant -b everywhere."""
    return Dynamics(lambda s, _: torch.stack([1 - a * s[:, 0] ** 2 + s[:, 1], b * s[:, 0]], dim=1), dim=2, name="Henon")


def logistic(r: float = 4.0) -> Dynamics:
    """x' = r x (1 - x); at r = 4 the exponent is ln 2 and a k-cycle has multiplier +-2^k."""
    return Dynamics(lambda x, _: r * x * (1 - x), dim=1, name="logistic")


def rolled_tanh(n: int) -> Dynamics:
    """h' = tanh(h W), W row i = -roll(linspace(-1, 1, n), -i): 3, 3 and 9 fixed points for n = 2, 3, 4."""
    line = torch.linspace(-1, 1, n, dtype=torch.float64)
    W = torch.stack([-line.roll(-i) for i in range(n)])
    box = (-torch.ones(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64))
    return Dynamics(
        lambda h, _: torch.tanh(torch.nn.functional.linear(h, W.mT)), dim=n, name=f"rolled tanh {n}", box=lambda _: box
    )


def skew_tent(a: float = 0.3) -> Dynamics:
    """x / a below a, (1 - x) / (1 - a) above: uniform density, slopes independent from step to step."""
    return Dynamics(lambda x, _: torch.where(x < a, x / a, (1 - x) / (1 - a)), dim=1, name="skew tent")


def cat_map() -> Dynamics:
    """(2x + y, x + y) mod 1: exponents +-ln((3 + sqrt 5) / 2) everywhere."""
    A = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    return Dynamics(lambda x, _: (x @ A.T) % 1, dim=2, name="cat map")


def linear(matrix: object, *, dt: float = 1.0) -> Dynamics:
    """x' = A x."""
    A = torch.as_tensor(matrix, dtype=torch.float64)
    return Dynamics(lambda x, _: x @ A.T, dim=len(A), name="linear", dt=dt)


def tent(slope: float = 1.9) -> Dynamics:
    """slope min(x, 1 - x): exponent ln slope everywhere. At slope 2 every step shifts a bit of 53 out, so that x ends at 0."""
    return Dynamics(lambda x, _: slope * (0.5 - (x - 0.5).abs()), dim=1, name="tent")


def doubling(length: int = 3**20) -> Dynamics:
    """x' = 2 x on a circle of odd length: whole x are doubled without rounding, so that they never run out of bits."""
    return Dynamics(lambda x, _: (2 * x) % length, dim=1, name="doubling")


def baker(a: float = 0.3) -> Dynamics:
    """Stretches the strips x < a and x > a to the whole square, and stacks them: exponents +-(-a ln a - (1 - a) ln (1 - a))."""

    def step(z: torch.Tensor, _: object) -> torch.Tensor:
        x, y = z.unbind(1)
        left = x < a
        return torch.stack(
            [torch.where(left, x / a, (x - a) / (1 - a)), torch.where(left, a * y, a + (1 - a) * y)], dim=1
        )

    return Dynamics(step, dim=2, name="baker")


def henon_heiles(dt: float = 0.05) -> Dynamics:
    """The flow of H = (p^2 + q^2) / 2 + q_1^2 q_2 - q_2^3 / 3; the state is (q, p)."""

    def velocity(z: torch.Tensor, _: object) -> torch.Tensor:
        q1, q2, p1, p2 = z.unbind(1)
        return torch.stack([p1, p2, -q1 - 2 * q1 * q2, -q2 - q1**2 + q2**2], dim=1)

    def slope(z: torch.Tensor, _: object) -> torch.Tensor:
        q1, q2 = z[:, 0], z[:, 1]
        J = z.new_zeros(len(z), 4, 4)
        J[:, 0, 2] = J[:, 1, 3] = 1.0
        J[:, 2, 0], J[:, 2, 1], J[:, 3, 0], J[:, 3, 1] = -1 - 2 * q2, -2 * q1, -2 * q1, -1 + 2 * q2
        return J

    return flow(velocity, 4, dt=dt, jacobian=slope, name="Henon-Heiles")


def matrix_product(size: int) -> Dynamics:
    """x' = M x, where the drive is M, row after row."""

    def push(x: torch.Tensor, tangents: torch.Tensor, drive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        M = drive.reshape(-1, size, size)
        return (M @ x[:, :, None])[:, :, 0], M @ tangents

    return Dynamics(
        lambda x, drive: (drive.reshape(-1, size, size) @ x[:, :, None])[:, :, 0],
        dim=size, name="matrix product", driven=True, inputs=size * size,
        jacobian=lambda x, drive: drive.reshape(-1, size, size).expand(len(x), size, size), push=push,
    )  # fmt: skip


def selective_recurrence(A: object, to_delta: object, offset: object, to_B: object) -> Dynamics:
    """h' = exp(Delta A) h + Delta B u, one row of h a channel: Delta = softplus(to_delta u + offset), B = to_B u.

    The selective state-space layer of Mamba (Gu, Dao 2023, algorithm 2), driven by u (channels,) and clocked by tokens.
    """
    decays, W, bias, V = (torch.as_tensor(given, dtype=torch.float64) for given in (A, to_delta, offset, to_B))
    channels, width = decays.shape

    def step(h: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        delta = torch.nn.functional.softplus(u @ W.T + bias)
        into = (delta * u)[..., :, None] * (u @ V.T)[..., None, :]
        kept = torch.exp(delta[..., :, None] * decays) * h.reshape(-1, channels, width)
        return (kept + into).reshape(-1, channels * width)

    return Dynamics(
        step, dim=channels * width, name="selective recurrence", clock="token", driven=True, inputs=channels
    )


def descent(hessian: object, rate: float, momentum: float = 0.0) -> Dynamics:
    """Gradient descent on w . H w / 2, the gradient by autograd; with momentum the state is (w, velocity)."""
    H = torch.as_tensor(hessian, dtype=torch.float64)
    gradient = torch.func.vmap(torch.func.grad(lambda w: w @ H @ w / 2))

    def step(state: torch.Tensor, _: object) -> torch.Tensor:
        if not momentum:
            return state - rate * gradient(state)
        w, velocity = state.chunk(2, dim=1)
        velocity = momentum * velocity - rate * gradient(w)
        return torch.cat([w + velocity, velocity], dim=1)

    return Dynamics(step, dim=len(H) * (2 if momentum else 1), name="descent", clock="update")


def fractional_noise(H, rows, steps, seed=0):
    """Fractional Gaussian noise of variance 1, exact: the Cholesky factor of its covariance times white noise."""
    k = np.arange(steps)
    covariance = (np.abs(k - 1.0) ** (2 * H) - 2 * k ** (2.0 * H) + (k + 1.0) ** (2 * H)) / 2
    factor = np.linalg.cholesky(covariance[np.abs(k[:, None] - k)])
    return np.random.default_rng(seed).standard_normal((rows, steps)) @ factor.T
