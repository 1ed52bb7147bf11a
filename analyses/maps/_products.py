"""Singular values of long products of matrices, of which neither the largest overflows nor the smallest is lost.

A QR sweep from one fixed orthogonal frame, the triangular factors multiplied as D U with the logarithms of the rows' sizes in D
(Stewart, BIT 37, 1997); then a one-sided Jacobi decomposition of U' D, LAPACK's ``gejsv`` (Drmac, Veselic, SIAM J. Matrix Anal.
29, 2008).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.linalg.lapack import dgejsv

WIDEST_RANGE = 600.0  # of ln singular values that one float64 matrix holds without underflow
FRAME = 314159  # seed of the first frame, unlikely to be anyone's own
PASSES, SETTLED = 200, 1e-12  # of QR where the range is wider: what is left off the diagonal, as a share


def log_singular_values(stacks: Float[np.ndarray, "products steps dim dim"]) -> tuple[np.ndarray, float]:
    """(products, dim) ln singular values of stacks[p, -1] @ ... @ stacks[p, 0], and what the decomposition left undone."""
    products, _, dim, _ = stacks.shape
    logs, unit = np.zeros((products, dim)), np.broadcast_to(np.eye(dim), (products, dim, dim))
    for logs, unit in _swept(stacks):
        pass
    values, residual = np.empty((products, dim)), 0.0
    for product in range(products):
        values[product], left = _decomposed(logs[product], unit[product])
        residual = max(residual, left)
    return values, residual


def prefix_log_singular_values(stack: Float[np.ndarray, "steps dim dim"]) -> Float[np.ndarray, "steps dim"]:
    """ln singular values of stack[0], of stack[1] @ stack[0], and so on to the whole product, in one sweep."""
    rows = [_decomposed(logs[0], unit[0])[0] for logs, unit in _swept(stack[None])]
    return np.array(rows).reshape(len(stack), stack.shape[-1])


def _swept(stacks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """After each step, logs (products, dim) and unit (products, dim, dim): e^logs unit has the singular values so far."""
    products, steps, dim, _ = stacks.shape
    # a frame in general position: one along an invariant direction never turns to the most stretched one, and the sum fails
    start = np.linalg.qr(np.random.default_rng(FRAME).standard_normal((dim, dim)))[0]
    frame = np.broadcast_to(start, (products, dim, dim))
    logs, unit = np.zeros((products, dim)), np.broadcast_to(np.eye(dim), (products, dim, dim))
    for step in range(steps):
        frame, triangle = np.linalg.qr(stacks[:, step] @ frame)
        logs, unit = _multiplied(triangle, logs, unit)
        yield logs, unit


def _multiplied(triangle: np.ndarray, logs: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """triangle e^logs unit = e^logs' unit', every row of unit' of length 1, or 0 with its logarithm -inf."""
    sizes = np.where(np.isfinite(logs), logs, 0.0)  # of a row that is 0 any size will do
    carried = triangle * np.exp(np.minimum(sizes[:, None, :] - sizes[:, :, None], WIDEST_RANGE)) @ unit
    grown = np.linalg.norm(carried, axis=2)
    with np.errstate(divide="ignore"):
        logs = sizes + np.log(grown)
    return logs, carried / np.where(grown > 0, grown, 1.0)[..., None]


def _decomposed(logs: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, float]:
    """(dim,) ln singular values of e^logs unit, largest first, and the share left off the diagonal."""
    values = np.full(len(logs), -np.inf)
    alive = np.isfinite(logs)
    if not alive.any():
        return values, 0.0
    logs, unit = logs[alive], unit[alive]
    if np.ptp(logs) <= WIDEST_RANGE:
        columns = np.asfortranarray(unit.T * np.exp(logs - logs.max()))
        found, _, _, work, _, _ = dgejsv(columns, joba=0, jobu=3, jobv=3, jobr=0, jobt=0, jobp=0)
        with np.errstate(divide="ignore"):
            values[: len(logs)] = np.log(np.sort(found)[::-1]) + np.log(work[0] / work[1]) + logs.max()
        return values, 0.0
    # (D U)' = U' D = Q V D: V D has the singular values of D U and is nearer to a diagonal (Rutishauser)
    left = np.inf
    for _ in range(PASSES):
        factor = np.linalg.qr(unit.T)[1]
        carried = factor * np.exp(np.minimum(logs[None, :] - logs[:, None], WIDEST_RANGE))
        grown = np.linalg.norm(carried, axis=1)
        logs, unit = logs + np.log(grown), carried / grown[:, None]
        left = float(np.abs(np.triu(unit, 1)).max(initial=0))
        if left < SETTLED:
            break
    values[: len(logs)] = np.sort(logs)[::-1]
    return values, left
