"""Which inputs write to which directions, and which directions does the readout read?

At given states: right eigenvectors r_k of the Jacobian (where a deviation goes), left eigenvectors l_k (what a kick must
overlap with to excite it), the drive Jacobian B (where each input pushes) and the readout's slope C. Input j excites mode k
by |l_k . B_j|, the readout sees it by |C_i . r_k|; both are given as cosines, beside the cosine of two random directions.
Takes (dynamics, states, drive); costs one Jacobian and its eigenvectors a state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.tangent import drive_jacobian, jacobian, readout_jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class LinearGeometry(Result):
    """Modes of the linearised map at each point, what drives them, and what reads them.

    Attributes
    ----------
    eigenvalues : (found, kept) complex
        Of the leading modes, largest modulus first.
    right, left : (found, dim, kept) complex
        Eigenvectors, right ones of unit length, with left^H right = I.
    conditions : (found,)
        Condition number of the full eigenvector matrix; above about 1e8 the modes are not to be trusted.
    inputs : (found, dim, inputs)
        Drive Jacobian.
    readout : (found, outputs, dim)
        Readout Jacobian.
    input_alignment : (found, kept, inputs)
        |cos| of each left eigenvector with each input direction; 0 for an input without effect.
    readout_alignment : (found, kept, outputs)
        |cos| of each right eigenvector with each readout row.
    chance
        Mean |cos| of two random directions in this dimension.
    checks
        left^H right = I, where the eigenvectors are well conditioned.
    """

    eigenvalues: Complex[np.ndarray, "found kept"]
    right: Complex[np.ndarray, "found dim kept"]
    left: Complex[np.ndarray, "found dim kept"]
    conditions: Float[np.ndarray, " found"]
    inputs: Float[np.ndarray, "found dim inputs"]
    readout: Float[np.ndarray, "found outputs dim"]
    input_alignment: Float[np.ndarray, "found kept inputs"]
    readout_alignment: Float[np.ndarray, "found kept outputs"]
    chance: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How well inputs and readout match the slowest mode, beside chance."""
        points = counted(len(self.eigenvalues), "point")
        parts = [
            f"the best {name} meets the slowest mode at cosine {np.median(values[:, 0].max(axis=1)):.2f}"
            for name, values in (("input", self.input_alignment), ("readout", self.readout_alignment))
            if values.size
        ]
        if not parts:
            return f"modes of {points}, but no drive and no readout to hold them against"
        return f"{', '.join(parts)} (median over {points}; two random directions: {self.chance:.2f})"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Alignment of each mode with its best input and best readout row, over the mode's eigenvalue modulus."""
        ax = axes_or_new(ax)
        moduli = np.abs(self.eigenvalues).ravel()
        for values, label, color in (
            (self.input_alignment, "best input", "#0072b2"),
            (self.readout_alignment, "best readout row", "#d55e00"),
        ):
            if values.size:
                ax.scatter(moduli, values.max(axis=2).ravel(), s=14, color=color, label=label)
        ax.axhline(self.chance, color="0.6", linewidth=1, linestyle="--", label="two random directions")
        ax.set(xlabel="|eigenvalue| of the mode", ylabel="|cosine|", ylim=(0, 1.02))
        ax.legend(frameon=False, fontsize="small")
        return ax


def linear_geometry(dynamics: Dynamics, points: Any, *, drive: Any = None, kept: int = 3) -> LinearGeometry:
    """Modes at the points, and their alignment with inputs and readout.

    Parameters
    ----------
    dynamics
        The driven map, with ``drive``; an autonomous one has no input axis.
    points : (found, dim)
        Fixed points, or any states.
    drive : (inputs,)
        The drive at which the map is linearised.
    kept
        Leading modes; at most dim.

    Raises
    ------
    DrivenError
        For a driven map without a drive.
    """
    states = as_states(dynamics, points)
    held = as_drive(dynamics, drive) if drive is not None else None
    if held is None:
        autonomous(dynamics, "linear_geometry without a drive")
    found, dim = states.shape
    kept = min(kept, dim)

    values, vectors = np.linalg.eig(_array(jacobian(dynamics, states, held)))
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1).astype(np.complex128)
    right = np.take_along_axis(vectors, order[:, None, :], axis=2).astype(np.complex128)
    conditions = np.linalg.cond(right) if found else np.zeros(0)
    left = np.linalg.pinv(right).conj().swapaxes(1, 2)  # columns l_k, with l_k^H r_j = 1 or 0
    B = np.zeros((found, dim, 0)) if held is None else _array(drive_jacobian(dynamics, states, held))
    C = _array(readout_jacobian(dynamics, states))

    sound = conditions < 1e8
    identity = left[sound].conj().swapaxes(1, 2) @ right[sound]
    gap = float(np.abs(identity - np.eye(dim)).max(initial=0))
    right, left = right[:, :, :kept], left[:, :, :kept]
    return LinearGeometry(
        eigenvalues=values[:, :kept],
        right=right,
        left=left,
        conditions=conditions,
        inputs=B,
        readout=C,
        input_alignment=_cosines(left, B),
        readout_alignment=_cosines(right, C.swapaxes(1, 2)),
        chance=math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) / math.sqrt(math.pi),
        checks=(Check("left^H right against the identity", 0.0, gap, 1e-6),),
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.to(torch.float64).cpu().numpy()


def _cosines(modes: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(found, kept, directions) |cos| between complex modes (found, dim, kept) and real directions (found, dim, n)."""
    products = np.abs(modes.conj().swapaxes(1, 2) @ directions)
    sizes = np.linalg.norm(modes, axis=1)[:, :, None] * np.linalg.norm(directions, axis=1)[:, None, :]
    return np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0)
