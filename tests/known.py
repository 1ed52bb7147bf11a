"""Systems with known answers, written out here and never imported from the code under test."""

import torch

from hooks.dynamics import Dynamics


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
