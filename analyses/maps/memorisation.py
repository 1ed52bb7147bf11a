"""Do the attractors of an autoencoder hold its training data? How near they come, beside points that were never trained on.

The published measure is the largest cosine of each decoded attractor with the training points (Fumero et al., ICLR 2026). Data
that are nowhere negative have large cosines with each other, so the number alone says nothing: here it stands beside that of
equally many points drawn from others, held-out data and decodings that are no attractors. Likewise the rank of the decoded
attractors: singular directions that carry 90 % of their squares, about zero.

Takes (decoded (found, values), training (points, values)); costs one product of each set with the training points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 12  # attractors drawn as images
EXPLAINED = 0.9  # of the sum of squares
EXCESS, RANK = "excess of the mean largest cosine", "rank of the decoded attractors"


@dataclass(frozen=True, eq=False)
class Memorisation(Result):
    """How near decoded attractors come to the training points.

    Attributes
    ----------
    cosines : (found,)
        Of each with the training point of largest cosine.
    nearest : (found,)
        That point.
    pairs : (2, found, values)
        The decoded attractors, and the training points nearest to them.
    image
        (height, width) of the values where they are an image; empty elsewhere.
    rank
        Directions that carry 90 % of the squares of all of them; 0 for none.
    names
        Of the sets that they stand beside.
    beside : (sets,)
        Mean largest cosine of all points of each.
    checks
        Cosines lie between -1 and 1.
    nulls
        For each set with as many points as there are attractors: by how much the mean cosine exceeds the median of such draws
        (0 where it does not, so that only nearer counts), and the rank.
    """

    cosines: Float[np.ndarray, " found"]
    nearest: Int[np.ndarray, " found"]
    pairs: Float[np.ndarray, "2 found values"]
    image: tuple[int, ...]
    rank: int
    names: tuple[str, ...]
    beside: Float[np.ndarray, " sets"]
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    @property
    def mean(self) -> float:
        """Of the cosines, the published number; NaN for none."""
        return float(self.cosines.mean()) if len(self.cosines) else float("nan")

    @property
    def shown(self) -> bool:
        """Whether the attractors are nearer to the training points than every set beside them is."""
        asked = [null.beaten for null in self.nulls if null.statistic == EXCESS]
        return bool(asked) and all(asked)

    def summary(self) -> str:
        """The mean cosine and the rank beside those of other points."""
        if not len(self.cosines):
            return "0 decoded attractors, so nothing is memorised in them"
        text = f"{counted(len(self.cosines), 'decoded attractor')}: mean largest cosine with a training point {self.mean:.3f}"
        text += "".join(f", {value:.3f} of {name}" for name, value in zip(self.names, self.beside, strict=True))
        asked = [null for null in self.nulls if null.statistic == EXCESS]
        if self.shown:
            text += "; nearer than all of these"
        elif asked:
            near = [null.name for null in asked if not null.beaten]
            text += f"; memorisation is not shown, since they come no nearer than {' or '.join(near)}"
        else:
            text += "; too few points beside them to tell"
        ranks = [f"{null.name} {np.median(null.draws):g}" for null in self.nulls if null.statistic == RANK]
        return f"{text}; rank {self.rank}" + (f" (of equally many {', '.join(ranks)})" if ranks else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Attractors above the training points nearest to them, each to its own scale, where they are images; else the cosines
        in order, with the mean of each other set as a line."""
        ax = axes_or_new(ax)
        if self.image and len(self.cosines):
            order = np.argsort(-self.cosines, kind="stable")[:SHOWN]
            tiles = self.pairs[:, order].reshape(2, len(order), *self.image)
            tiles = tiles / np.maximum(np.abs(tiles).max(axis=(2, 3), keepdims=True), 1e-300)  # cosines know no scale
            framed = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
            ax.imshow(np.concatenate(np.concatenate(framed, axis=1), axis=1), cmap="gray_r", interpolation="nearest")
            ax.set(xticks=[], yticks=[(self.image[0] + 1) * row + self.image[0] / 2 - 0.5 for row in (0, 1)])
            ax.set_yticklabels(["attractor", "nearest"])
            return ax
        ax.plot(np.arange(1, len(self.cosines) + 1), np.sort(self.cosines)[::-1], "o", color="#0072b2", markersize=4)
        for name, value, line in zip(self.names, self.beside, ("-", "--", ":", "-.") * 8, strict=False):
            ax.axhline(value, color="0.4", linestyle=line, linewidth=1, label=name)
        ax.set(xlabel="decoded attractor, nearest first", ylabel="largest cosine with a training point")
        if self.names:
            ax.legend(frameon=False, fontsize="small")
        return ax


def memorisation(
    decoded: Any,
    training: Any,
    *,
    beside: Mapping[str, Any],
    image: tuple[int, ...] = (),
    draws: int = 999,
    generator: np.random.Generator | None = None,
) -> Memorisation:
    """Tell whether decoded attractors are nearer to training points than other points are.

    Parameters
    ----------
    decoded : (found, values)
        Attractors as the decoder says them.
    training : (points, values)
    beside
        Name -> (points, values): held-out data, their reconstructions, decodings of random codes. A set smaller than the number
        of attractors gives its mean but no null.
    image
        (height, width) of the values, for drawings; left out where they are no image.
    draws
        Of as many points as there are attractors, for each null.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    InputError
        For arrays that are not (points, values) of one width, not finite, or no training point; an image of another size.
    """
    generator = generator or np.random.default_rng(0)
    seen = _rows(training, "training")
    if not len(seen):
        raise InputError("memorisation is of training points, and none came")
    found = _rows(decoded, "decoded", seen.shape[1])
    if image and (len(image) != 2 or image[0] * image[1] != seen.shape[1]):
        raise InputError(f"an image is (height, width) of {seen.shape[1]} values, but {image} came")
    others = {name: _rows(points, name, seen.shape[1]) for name, points in beside.items()}
    directions = _units(seen)
    products = _units(found) @ directions.T
    cosines = products.max(axis=1)
    nearest = {name: (_units(points) @ directions.T).max(axis=1) for name, points in others.items()}
    rank, nulls = _rank(found), []
    for name, points in others.items():
        if not 0 < len(found) <= len(points):
            continue
        picks = np.array([generator.permutation(len(points))[: len(found)] for _ in range(draws)])
        means = nearest[name][picks].mean(axis=1)
        ranks = np.array([_rank(points[pick]) for pick in picks], dtype=np.float64)
        said = f"decoded attractors are as near to the training points as {name} are"
        excess = np.maximum(np.append(means, cosines.mean()) - np.median(means), 0)  # one-sided: farther is no memory
        nulls.append(Null(name, said, "attractor", excess[:-1], float(excess[-1]), EXCESS))
        nulls.append(
            Null(name, f"they fill as many directions as equally many {name}", "attractor", ranks, float(rank), RANK)
        )
    largest = float(np.abs(products).max(initial=0.0))
    return Memorisation(
        cosines=cosines,
        nearest=products.argmax(axis=1).astype(np.int64),
        pairs=np.stack([found, seen[products.argmax(axis=1)]]),
        image=tuple(image),
        rank=rank,
        names=tuple(others),
        beside=np.array([values.mean() if len(values) else np.nan for values in nearest.values()], dtype=np.float64),
        checks=(Check("largest |cosine| above 1", 0.0, max(0.0, largest - 1), 1e-12),),
        nulls=tuple(nulls),
    )


def _rows(points: Any, what: str, width: int | None = None) -> np.ndarray:
    rows = np.asarray(points, dtype=np.float64)
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width) or not np.isfinite(rows).all():
        wanted = "values" if width is None else width
        raise InputError(f"{what} has shape (points, {wanted}), all finite, but {rows.shape} came")
    return rows


def _units(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)


def _rank(rows: np.ndarray) -> int:
    """Directions that carry ``EXPLAINED`` of the squares, to rounding."""
    squares = np.linalg.svd(rows, compute_uv=False) ** 2
    total = squares.sum()
    return int((np.cumsum(squares) < EXPLAINED * total * (1 - 1e-12)).sum()) + 1 if total > 0 else 0
