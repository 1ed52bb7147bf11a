"""Which eigenvalues of a weight matrix leave the bulk in training, when, and is the change that drives them of low rank?

Method: the spectrum of every checkpoint, each eigenvalue followed to the next by the assignment of least total distance. The
edge of the bulk is that of the same entries in random places: the ``1 - level`` quantile of the largest modulus over shuffles
of the whole matrix, so that an eigenvalue beyond it is not due to the distribution of the entries, their mean included. For
independent entries of variance s^2 the bulk tends to the disk of radius s sqrt(n) (circular law: Tao and Vu, Ann. Probab. 38,
2010), and a change of low rank adds outliers at its own eigenvalues while the rest stay (Tao, Probab. Theory Relat. Fields
155, 2013). Shuffles keep the spread that the change added, which makes the edge wider than that of the first checkpoint. The
change is read by its singular values, beside a change of the same entries in random places.

Takes the history of one square matrix (checkpoints, units, units); costs draws + 1 spectra a checkpoint, O(units^3) each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.optimize import linear_sum_assignment

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class OutlierEigenvalues(Result):
    """The spectrum over training, what left the bulk, and the rank of the change.

    Attributes
    ----------
    updates : (checkpoints,)
        When each checkpoint was taken.
    eigenvalues : (checkpoints, units) complex
        A column is one eigenvalue over training; largest modulus at the last checkpoint first.
    edges : (checkpoints,)
        Modulus that shuffled entries exceed at rate ``level``.
    left : (outliers,)
        Update from which on each outlier of the last checkpoint is beyond the edge; the outliers are the first columns.
    changes : (checkpoints,)
        Frobenius norm of the change from the first checkpoint.
    shares : (checkpoints, units)
        Of each squared singular value of that change in their sum, largest first; NaN where nothing changed.
    bulk_shift
        Mean distance of the eigenvalues that are no outliers from those of the first checkpoint, by the best assignment.
    nulls
        Of the last checkpoint: its largest modulus in shuffles of its entries; the first share and the shift of the bulk when
        the change's entries are shuffled and added to the first checkpoint. None of the latter where nothing changed.
    checks
        The eigenvalues sum to the trace, at every checkpoint.
    """

    updates: Int[np.ndarray, " checkpoints"]
    eigenvalues: Complex[np.ndarray, "checkpoints units"]
    edges: Float[np.ndarray, " checkpoints"]
    left: Int[np.ndarray, " outliers"]
    changes: Float[np.ndarray, " checkpoints"]
    shares: Float[np.ndarray, "checkpoints units"]
    bulk_shift: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many eigenvalues are outside, the first of them and when it left, and what the change is like."""
        outside, units = len(self.left), self.eigenvalues.shape[1]
        text = f"{outside} of {counted(units, 'eigenvalue')} beyond the edge of shuffled entries, {self.edges[-1]:.3g}"
        largest = self.eigenvalues[-1, 0]
        value = f"{largest.real:.3f}" + (f" {largest.imag:+.3f}i" if largest.imag else "")
        text += f"; the largest is {value}" + (f", outside from update {self.left[0]} on" if outside else "")
        if not self.changes[-1]:
            return f"{text}; the matrix did not change"
        alone, moved = (float(np.median(null.draws)) for null in self.nulls[1:])
        text += f"; the change has norm {self.changes[-1]:.3g}, {self.shares[-1, 0]:.1%} of it of rank one "
        return f"{text}(shuffled {alone:.1%}), and moved the others by {self.bulk_shift:.3g} (shuffled {moved:.3g})"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The plane: the first and last spectrum, the edge, and the paths of the outliers."""
        ax = axes_or_new(ax)
        first, last = self.eigenvalues[0], self.eigenvalues[-1]
        ax.plot(first.real, first.imag, "o", color="0.7", markersize=3, label=f"update {self.updates[0]}")
        ax.plot(last.real, last.imag, "o", color="#0072b2", markersize=3, label=f"update {self.updates[-1]}")
        for column in range(len(self.left)):
            path = self.eigenvalues[:, column]
            ax.plot(path.real, path.imag, "-", color="#d55e00", linewidth=0.8)
        turn = np.linspace(0, 2 * np.pi, 200)
        ax.plot(self.edges[-1] * np.cos(turn), self.edges[-1] * np.sin(turn), "k:", linewidth=0.8, label="edge")
        ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
        ax.legend(frameon=False, fontsize="small", loc="upper right")
        return ax


def outlier_eigenvalues(
    history: Any,
    *,
    updates: Any = None,
    draws: int = 19,
    level: float = 0.05,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> OutlierEigenvalues:
    """Which eigenvalues leave the bulk over the history of one recurrent weight matrix.

    Parameters
    ----------
    history : (checkpoints, units, units)
        The matrix at two or more times, the start first.
    updates : (checkpoints,)
        Ascending; 0, 1, ... when left out.
    draws
        Shuffles of each checkpoint, and of the change.
    level
        Share of shuffles whose largest modulus is beyond the edge: at least 1 / (draws + 1).
    generator
        Of the shuffles; numpy's with seed 0 when left out.

    Raises
    ------
    InputError
        For another shape, fewer than two checkpoints, weights that are not finite, updates that are not ascending or not one a
        checkpoint, or a level that so few draws cannot tell.
    """
    matrices = np.asarray(history, dtype=np.float64)
    times = np.arange(len(matrices)) if updates is None else np.asarray(updates, dtype=np.int64)
    _refuse(matrices, times, draws, level)
    generator = generator or np.random.default_rng(0)

    raw = np.linalg.eigvals(matrices).astype(np.complex128)
    radii = np.array(list(watch(_shuffled_radii(matrices, draws, generator), len(matrices))))
    edges = np.quantile(radii, 1 - level, axis=1, method="higher")
    paths = _paths(raw)
    paths = paths[:, np.argsort(-np.abs(paths[-1]), kind="stable")]
    beyond = np.abs(paths) > edges[:, None]
    outliers = int(beyond[-1].sum())
    stays = np.logical_and.accumulate(beyond[::-1, :outliers], axis=0)[::-1]

    change = matrices - matrices[0]
    sizes = np.linalg.svd(change, compute_uv=False)
    squares = (sizes**2).sum(axis=1, keepdims=True)
    shares = np.divide(sizes**2, squares, out=np.full_like(sizes, np.nan), where=squares > 0)
    nulls = [
        Null("shuffled entries", "the entries are in random places", "network", radii[-1], float(np.abs(raw[-1]).max()),
             "largest modulus")
    ]  # fmt: skip
    bulk_shift = _shift(paths[-1, outliers:], raw[0])
    if squares[-1, 0]:
        name, hypothesis = "shuffled change", "a change of the same entries in random places"
        alike = _shuffles(change[-1], draws, generator)
        alone = np.linalg.svd(alike, compute_uv=False)[:, 0] ** 2 / squares[-1]
        moved = np.array([_shift(values, raw[0]) for values in np.linalg.eigvals(matrices[0] + alike)])
        nulls.append(Null(name, hypothesis, "network", alone, float(shares[-1, 0]), "share of rank one"))
        nulls.append(Null(name, hypothesis, "network", moved, bulk_shift, "shift of the bulk"))
    traces = np.trace(matrices, axis1=1, axis2=2)
    scale = 1 + float(np.abs(matrices).sum(axis=2).max())
    return OutlierEigenvalues(
        updates=times,
        eigenvalues=paths,
        edges=edges,
        left=times[stays.argmax(axis=0)] if outliers else np.zeros(0, dtype=np.int64),
        changes=np.sqrt(squares[:, 0]),
        shares=shares,
        bulk_shift=bulk_shift,
        nulls=tuple(nulls),
        checks=(
            Check("sum of the eigenvalues less the trace", 0.0, float(np.abs(raw.sum(axis=1) - traces).max()), 1e-10 * scale),
        ),
    )  # fmt: skip


def _shuffles(matrix: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """(draws, units, units) of the same entries in random places."""
    flat = np.broadcast_to(matrix.ravel(), (draws, matrix.size))
    return generator.permuted(flat, axis=1).reshape(draws, *matrix.shape)


def _shuffled_radii(matrices: np.ndarray, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """(draws,) largest moduli for each checkpoint."""
    for matrix in matrices:
        yield np.abs(np.linalg.eigvals(_shuffles(matrix, draws, generator))).max(axis=1)


def _paths(raw: np.ndarray) -> np.ndarray:
    """Each row reordered so that a column moves as little as it can from row to row."""
    rows = [raw[0]]
    for values in raw[1:]:
        rows.append(values[linear_sum_assignment(np.abs(rows[-1][:, None] - values))[1]])
    return np.array(rows)


def _shift(values: np.ndarray, first: np.ndarray) -> float:
    """Mean distance of these eigenvalues from as many of the first ones, by the best assignment; 0 of none."""
    distances = np.abs(values[:, None] - first)
    return float(distances[linear_sum_assignment(distances)].mean()) if len(values) else 0.0


def _refuse(matrices: np.ndarray, times: np.ndarray, draws: int, level: float) -> None:
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or not matrices.shape[1]:
        raise InputError(f"a history has shape (checkpoints, units, units), but {matrices.shape} came")
    if len(matrices) < 2:
        raise InputError(
            f"what leaves the bulk is told from an earlier checkpoint, but {len(matrices)} came: give the start first"
        )
    if not np.isfinite(matrices).all():
        bad = int(np.flatnonzero(~np.isfinite(matrices).all(axis=(1, 2)))[0])
        raise InputError(f"checkpoint {bad} has weights that are not finite: cut the history before it")
    if times.shape != (len(matrices),) or (np.diff(times) <= 0).any():
        raise InputError(
            f"updates are ascending, one for each of {len(matrices)} checkpoints, but {times.tolist()} came"
        )
    if not 0 < level < 1:
        raise InputError(f"level is a share between 0 and 1, not {level}")
    if level * (draws + 1) < 1 - 1e-12:
        raise InputError(
            f"{draws} draws cannot tell a level of {level}: take at least {math.ceil(1 / level - 1e-9) - 1}"
        )
