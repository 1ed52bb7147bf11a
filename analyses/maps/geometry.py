"""Which inputs write to which directions, and which directions does the readout read?

At given states: right eigenvectors r_k of the Jacobian (where a deviation goes), left eigenvectors l_k (what a kick must
overlap with to excite it), the drive Jacobian B (where each input pushes) and the readout's slope C. Input j excites mode k
by |l_k . B_j|, the readout sees it by |C_i . r_k|; both are given as cosines.

Null: with n inputs the best of n cosines is large by chance, and a complex mode meets every direction better than a real one.
So all slowest modes are turned together by a random rotation (Haar measure: Mezzadri, Notices of the AMS 54 (2007), section 5)
and the same statistic is taken again: the best of the same inputs at each point, then the median over points. Takes
(dynamics, states, drive); costs one Jacobian and its eigenvectors a state, and a QR of (dim, 2 found) a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import drive_jacobian, jacobian, readout_jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOUND = 1e8  # condition number of the eigenvectors above which their directions are not to be trusted
DIGITS = 12  # of the statistic that count: rounding beats no null


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
        Condition number of the full eigenvector matrix; above 1e8 the modes are not to be trusted.
    inputs : (found, dim, inputs)
        Drive Jacobian.
    readout : (found, outputs, dim)
        Readout Jacobian.
    input_alignment : (found, kept, inputs)
        |cos| of each left eigenvector with each input direction; 0 for an input without effect.
    readout_alignment : (found, kept, outputs)
        |cos| of each right eigenvector with each readout row.
    nulls
        "input" and "readout", where there are any and a point: the best cosine with the slowest mode, median over points,
        against modes turned at random.
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
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How well inputs and readout match the slowest mode, beside modes turned at random."""
        points = counted(len(self.eigenvalues), "point")
        if not len(self.eigenvalues):
            return "no points, so no modes"
        if not self.nulls:
            return f"modes of {points}, but no drive and no readout to hold them against"
        parts = [
            f"the best {null.name} meets the slowest mode at cosine {null.observed:.2f} (random directions: "
            f"{np.median(null.draws):.2f}, {_verdict(null)})"
            for null in self.nulls
        ]
        doubtful = int((self.conditions >= SOUND).sum())
        doubt = f"; eigenvectors of {counted(doubtful, 'point')} are ill-conditioned" if doubtful else ""
        return f"{', '.join(parts)}; median over {points}{doubt}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Alignment of each mode with its best input and best readout row, over the mode's eigenvalue modulus."""
        ax = axes_or_new(ax)
        moduli = np.abs(self.eigenvalues).ravel()
        for name, values, label, color in (
            ("input", self.input_alignment, "best input", "#0072b2"),
            ("readout", self.readout_alignment, "best readout row", "#d55e00"),
        ):
            if values.size:
                ax.scatter(moduli, values.max(axis=2).ravel(), s=14, color=color, label=label)
            for null in self.nulls:
                if null.name == name:
                    ax.axhline(
                        np.median(null.draws), color=color, linewidth=1, linestyle="--", label=f"{label}, at random"
                    )
        ax.set(xlabel="|eigenvalue| of the mode", ylabel="|cosine|", ylim=(0, 1.02))
        if self.nulls:
            ax.legend(frameon=False, fontsize="small")
        return ax


def linear_geometry(
    dynamics: Dynamics,
    points: Any,
    *,
    drive: Any = None,
    kept: int = 3,
    draws: int = 400,
    generator: torch.Generator | None = None,
) -> LinearGeometry:
    """Modes at the points, and their alignment with inputs and readout.

    Parameters
    ----------
    points : (found, dim)
    drive : (inputs,) or (found, inputs)
        Held at the points, for a driven map.
    kept
        Leading modes; at most dim.
    draws
        Random rotations of each null.
    generator
        Draws them; a fixed seed when left out, so equal calls give equal results.

    Returns
    -------
    LinearGeometry
        No inputs for an autonomous map, no outputs without a readout, no nulls without points.

    Raises
    ------
    DrivenError
        For a driven map without a drive.
    InputError
        For no mode or no draw, or points or drives of another width.
    """
    if kept < 1 or draws < 1:
        raise InputError(f"a geometry needs a mode and a draw at least, but kept={kept} and draws={draws} came")
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

    sound = conditions < SOUND
    identity = left[sound].conj().swapaxes(1, 2) @ right[sound]
    gap = float(np.abs(identity - np.eye(dim)).max(initial=0))
    right, left = right[:, :, :kept], left[:, :, :kept]
    generator = generator or torch.Generator().manual_seed(0)
    hypotheses = {
        "input": ("the slowest modes lie at random to the inputs", left, B),
        "readout": ("the slowest modes lie at random to the readout", right, C.swapaxes(1, 2)),
    }
    nulls = tuple(
        Null(
            name, hypothesis, "network", _turned(modes[:, :, 0], directions, draws, generator), _best(modes, directions)
        )
        for name, (hypothesis, modes, directions) in hypotheses.items()
        if directions.shape[0] and directions.shape[2]
    )
    return LinearGeometry(
        eigenvalues=values[:, :kept],
        right=right,
        left=left,
        conditions=conditions,
        inputs=B,
        readout=C,
        input_alignment=_cosines(left, B),
        readout_alignment=_cosines(right, C.swapaxes(1, 2)),
        nulls=nulls,
        checks=(Check("left^H right against the identity", 0.0, gap, 1e-6),),
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.to(torch.float64).cpu().numpy()


def _cosines(modes: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(found, kept, directions) |cos| between complex modes (found, dim, kept) and real directions (found, dim, n)."""
    products = np.abs(modes.conj().swapaxes(1, 2) @ directions)
    sizes = np.linalg.norm(modes, axis=1)[:, :, None] * np.linalg.norm(directions, axis=1)[:, None, :]
    return np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0)


def _best(modes: np.ndarray, directions: np.ndarray) -> float:
    """The best |cos| of each point's first mode with its directions, median over points."""
    return round(float(np.median(_cosines(modes[:, :, :1], directions).max(axis=(1, 2)))), DIGITS)


def _turned(modes: np.ndarray, directions: np.ndarray, draws: int, generator: torch.Generator) -> np.ndarray:
    """(draws,) ``_best`` of modes (found, dim) that one random rotation a draw turns all alike."""
    parts = np.concatenate([modes.real, modes.imag])
    span = np.linalg.qr(parts.T)[0]  # (dim, rank): a rotation is drawn on what the modes span, as a random frame
    within = modes @ span
    values = np.empty(draws)
    for draw in range(draws):
        frame, R = torch.linalg.qr(torch.randn(span.shape, generator=generator, dtype=torch.float64))
        frame = (frame * torch.diagonal(R).sign()).numpy()
        values[draw] = _best((within @ frame.T)[:, :, None], directions)
    return values


def _verdict(null: Null) -> str:
    """Whether the null is beaten, and on which side."""
    if not null.beaten:
        return "not beaten"
    return f"{'more' if null.observed > np.median(null.draws) else 'less'} than chance, p = {null.p:.2g}"
