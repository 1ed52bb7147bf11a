"""How hard is a recording to write down? Lempel-Ziv phrases, sample entropy, and the compressed size of what is coarse.

``lempel_ziv``: the exhaustive history of Lempel and Ziv, IEEE Trans. Inf. Theory 22, 75 (1976), as counted by Kaspar and
Schuster, Phys. Rev. A 36, 842 (1987): each phrase is the shortest word not seen before, copies that overlap it allowed, and an
unfinished last phrase counts. c log_k(N) / N tends to the entropy rate in units of log k, slowly.

``sample_entropy``: -ln A / B, A and B the pairs of windows of m + 1 and m values within a tolerance in the maximum norm, both
counted over the N - m windows that have a next value, no window with itself (Richman and Moorman, Am. J. Physiol. 278, H2039,
2000). The pairs are counted by scipy's KD-tree.

``compressed_complexity``: the size under a compressor of a field averaged over cells and cut into levels, beside that of the
field itself (Aaronson, Carroll and Ouellette, arXiv 1405.6903, sections 5 and 6).

Series are (series, steps), fields (frames, rows, columns). Costs: some five searches of the past a phrase, each at the speed of
``bytes.find``; O(N log N) and the pairs found; one compression a frame.
"""

from __future__ import annotations

import lzma
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._turns import as_series
from analyses.surrogates import shuffled
from hooks.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

SHORTEST = 10  # steps


@dataclass(frozen=True, eq=False)
class SeriesComplexity(Result):
    """One number a series, and what its shuffles give.

    Attributes
    ----------
    measure
        "Lempel-Ziv" or "sample entropy".
    values : (series,)
        c log_k(N) / N, or sample entropy in nats; infinite where no longer window matches, NaN where no window does.
    counts : (series, 2)
        Phrases and steps; or the pairs of longer and of shorter windows.
    p : (series,)
        Against shuffles; NaN where none was drawn.
    outcome
        TOO_SHORT below ten steps.
    nulls
        Shuffles, one a series that moves and has a finite value.
    """

    measure: str
    values: Float[np.ndarray, " series"]
    counts: Int[np.ndarray, "series 2"]
    p: Float[np.ndarray, " series"]
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many series are unlike their shuffles, and the first three values."""
        count = len(self.values)
        if self.outcome is Outcome.TOO_SHORT:
            return f"0 of {count} series read: each {self.outcome.value}, fewer than {SHORTEST} steps"
        text = f"{int(np.isfinite(self.values).sum())} of {count} series have a finite {self.measure}"
        if np.isfinite(self.p).any():
            text += f", {int((self.p <= 0.05).sum())} unlike their shuffles"
        shown = [f"{value:.3f}" for value in self.values[:3]]
        text += f": {', '.join(shown)}" if shown else ""
        return text + (f", and {count - 3} more" if count > 3 else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each series a cross, its shuffles dots."""
        ax = axes_or_new(ax)
        drawn = np.flatnonzero(np.isfinite(self.p))
        for row, null in zip(drawn, self.nulls, strict=True):
            ax.plot(np.full(len(null.draws), row), null.draws, ".", color="0.7", markersize=3)
        ax.plot(np.arange(len(self.values)), self.values, "x")
        ax.set(xlabel="series", ylabel=self.measure)
        return ax


@dataclass(frozen=True, eq=False)
class CompressedComplexity(Result):
    """Compressed size of every frame, fine and coarse.

    Attributes
    ----------
    fine, coarse : (frames,)
        Bytes of the frame in 256 levels, and of its cells in ``levels``.
    constant : (2,)
        Bytes of a fine and of a coarse frame of one value: the compressor's own overhead.
    peak
        The frame of the greatest coarse size, the first of them; -1 without frames.
    grain, levels, compressor, settled
        As asked for.
    nulls
        The values of the peak's frame in random order, by coarse size: what a fully mixed frame gives.
    """

    fine: Int[np.ndarray, " frames"]
    coarse: Int[np.ndarray, " frames"]
    constant: Int[np.ndarray, " 2"]
    peak: int
    grain: int
    levels: int
    compressor: str
    settled: bool
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Where the coarse size is greatest, beside its ends and a shuffle."""
        if not len(self.coarse):
            return "0 frames compressed"
        text = (
            f"{len(self.coarse)} frames compressed by {self.compressor}; coarse over {self.grain} x {self.grain} values"
        )
        text += f", {self.coarse[0]} bytes at first, {self.coarse[self.peak]} at most (frame {self.peak + 1}), "
        text += f"{self.coarse[-1]} at last (a constant takes {self.constant[1]})"
        for null in self.nulls:
            text += f"; the greatest {'beats' if null.beaten else 'does not beat'} the same values in random order"
            text += f" (median {np.median(null.draws):.0f}, p {null.p:.2g})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Both sizes over frames, each as a share of its greatest."""
        ax = axes_or_new(ax)
        for sizes, label in ((self.fine, "fine"), (self.coarse, "coarse")):
            ax.plot(sizes / max(1, sizes.max(initial=0)), label=f"{label}, at most {sizes.max(initial=0)} bytes")
        ax.set(xlabel="frame", ylabel="compressed size over its greatest", ylim=(0, 1.05))
        ax.legend(fontsize=7)
        return ax


def lempel_ziv(
    series: Any, *, symbols: int = 2, draws: int = 19, generator: torch.Generator | None = None
) -> SeriesComplexity:
    """Normalised number of Lempel-Ziv phrases of each series.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        A series with no more distinct values than ``symbols`` is read as it is; any other is cut at its quantiles into
        symbols of equal shares, at the median for two, a value on a cut counting above it.
    symbols
        How many, k, 2 to 256.
    draws
        Shuffles of each; 0 for none.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or symbols or draws out of range.
    """
    values = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    if not 2 <= symbols <= 256 or draws < 0:
        raise InputError(f"symbols are 2 to 256 and draws at least 0, but {symbols=}, {draws=} came")
    steps = values.shape[1]

    def measured(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phrases = np.array([_phrases(row.tobytes()) for row in _cut(rows, symbols)], dtype=np.int64)
        norm = math.log(max(steps, 2), symbols) / max(steps, 1)
        return phrases * norm, np.stack([phrases, np.full_like(phrases, steps)], axis=1)

    return _against_shuffles("Lempel-Ziv", values, measured, draws, generator)


def sample_entropy(
    series: Any, *, length: int = 2, tolerance: float = 0.2, draws: int = 19, generator: torch.Generator | None = None
) -> SeriesComplexity:
    """Sample entropy of each series, nats: how often windows that agree go on to agree.

    Parameters
    ----------
    series : (series, steps) or (steps,)
    length
        Values in the shorter window, m.
    tolerance
        In standard deviations of the series (of N, not N - 1).
    draws
        Shuffles of each; 0 for none.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, a length or draws out of range or a tolerance that is not positive.
    """
    values = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    if length < 1 or not tolerance > 0 or draws < 0:
        raise InputError(f"length is at least 1, tolerance positive, but {length=}, {tolerance=}, {draws=} came")

    def measured(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = np.array(
            [[_pairs(row, m, length, tolerance) for m in (length + 1, length)] for row in rows], dtype=np.int64
        ).reshape(-1, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(counts[:, 1]) - np.log(counts[:, 0]), counts

    return _against_shuffles("sample entropy", values, measured, draws, generator)


def compressed_complexity(
    fields: Any,
    *,
    grain: int,
    levels: int = 3,
    span: Sequence[float] | None = None,
    settled: bool = False,
    compressor: Literal["zlib", "lzma"] = "zlib",
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> CompressedComplexity:
    """Compressed size of each frame as it is, and averaged over ``grain`` x ``grain`` values and cut into equal levels.

    Parameters
    ----------
    fields : (frames, rows, columns)
        Rows and columns beyond the last whole cell are left out of the coarse frame.
    grain, levels
        Values along a cell's side; levels of a cell, 2 to 256.
    span
        Between which the levels lie; the least and greatest value of all frames when left out. Values beyond it are clipped.
    settled
        Whether a cell one level from its row's commonest takes that level: cells near a cut then no longer flicker
        (section 6). It presumes that what is to be seen varies between rows.
    compressor
        zlib at level 9, or lzma with its default preset.
    draws
        Of the null; 0 for none.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or a grain, levels, span or compressor out of range.
    """
    values = as_series(fields, (3,), "(frames, rows, columns)")
    if not 1 <= grain <= min(values.shape[1:]) or not 2 <= levels <= 256 or compressor not in ("zlib", "lzma"):
        raise InputError(
            f"grain is 1 to {min(values.shape[1:])}, levels 2 to 256, compressor zlib or lzma, but {grain=}, {levels=}, "
            f"{compressor=} came"
        )
    low, high = span or (float(values.min(initial=math.inf)), float(values.max(initial=-math.inf)))
    if span is not None and not low < high:
        raise InputError(f"a span goes from less to more, but {span} came")

    def size(symbols: np.ndarray) -> int:
        data = symbols.tobytes()
        return len(zlib.compress(data, 9) if compressor == "zlib" else lzma.compress(data))

    def cut(frame: np.ndarray, into: int) -> np.ndarray:
        share = (frame - low) / (high - low) if high > low else np.zeros_like(frame)
        return np.clip(np.floor(share * into), 0, into - 1).astype(np.uint8)

    def coarse(frame: np.ndarray) -> np.ndarray:
        rows, columns = (extent // grain for extent in frame.shape)
        cells = frame[: rows * grain, : columns * grain].reshape(rows, grain, columns, grain).mean(axis=(1, 3))
        symbols = cut(cells, levels)
        return _settled(symbols) if settled else symbols

    fine_sizes = np.array([size(cut(frame, 256)) for frame in values], dtype=np.int64)
    coarse_sizes = np.array([size(coarse(frame)) for frame in values], dtype=np.int64)
    peak = int(coarse_sizes.argmax()) if len(values) else -1
    nulls: tuple[Null, ...] = ()
    if draws and len(values):
        frame = values[peak]
        mixed = shuffled(np.tile(frame.ravel(), (draws, 1)), generator=generator).reshape(draws, *frame.shape)
        sizes = np.array([size(coarse(one)) for one in mixed], dtype=np.float64)
        hypothesis = "the places of the frame's values do not matter"
        nulls = (Null("values in random order", hypothesis, "frame", sizes, float(coarse_sizes[peak])),)
    blank = np.zeros(values.shape[1:], dtype=np.uint8)
    return CompressedComplexity(
        fine=fine_sizes,
        coarse=coarse_sizes,
        constant=np.array([size(blank), size(blank[::grain, ::grain])], dtype=np.int64),
        peak=peak,
        grain=grain,
        levels=levels,
        compressor=compressor,
        settled=settled,
        nulls=nulls,
        checks=(),
    )


def _against_shuffles(
    measure: str, values: np.ndarray, measured: Any, draws: int, generator: torch.Generator | None
) -> SeriesComplexity:
    count, steps = values.shape
    generator = generator or torch.Generator().manual_seed(0)
    p, nulls = np.full(count, np.nan), []
    if steps < SHORTEST:
        found, counts, outcome = np.full(count, np.nan), np.zeros((count, 2), dtype=np.int64), Outcome.TOO_SHORT
    else:
        found, counts = measured(values)
        outcome = Outcome.CONVERGED
        for row in np.flatnonzero(np.isfinite(found) & (np.ptp(values, axis=1) > 0)) if draws else ():
            drawn, _ = measured(shuffled(np.tile(values[row], (draws, 1)), generator=generator))
            hypothesis = "the order of the values does not matter"
            nulls.append(Null(f"shuffled: {measure}", hypothesis, "series", drawn, float(found[row])))
            p[row] = nulls[-1].p
    return SeriesComplexity(measure, found, counts, p, outcome, tuple(nulls), ())


def _cut(values: np.ndarray, symbols: int) -> np.ndarray:
    """Symbols (rows, steps): a row's own values where there are no more of them, else equal shares as far as ties allow."""
    cut = np.zeros(values.shape, dtype=np.uint8)
    for row, series in enumerate(values):
        distinct, place = np.unique(series, return_inverse=True)
        if len(distinct) > symbols:
            cuts = np.maximum(
                np.quantile(series, np.arange(1, symbols) / symbols), distinct[1]
            )  # something lies below each
            place = np.searchsorted(cuts, series, side="right")
        cut[row] = place
    return cut


def _phrases(text: bytes) -> int:
    """Phrases of the exhaustive history: the longest word from here that begins before, and one symbol more."""
    count, begin, end = 0, 0, len(text)
    while begin < end:
        length, at = 0, 0
        while begin + length < end:
            at = text.find(text[begin : begin + length + 1], at, begin + length)
            if at < 0:
                break
            length += 1
            step = 8
            while step:  # the match at this place to its end, by doubling and halving
                same = begin + length + step <= end and (
                    text[at + length : at + length + step] == text[begin + length : begin + length + step]
                )
                length, step = (length + step, 2 * step) if same else (length, step // 2)
        count += 1
        begin += length + 1
    return count


def _pairs(series: np.ndarray, m: int, length: int, tolerance: float) -> int:
    """Unordered pairs of windows of ``m`` values within the tolerance, among those with ``length`` + 1 values ahead."""
    windows = len(series) - length
    if windows < 1:
        return 0
    tree = cKDTree(np.lib.stride_tricks.sliding_window_view(series, m)[:windows])
    return (int(tree.count_neighbors(tree, tolerance * series.std(), p=np.inf)) - windows) // 2


def _settled(symbols: np.ndarray) -> np.ndarray:
    """Cells one level from their row's commonest take it; of equally common ones the lowest."""
    commonest = np.array([np.bincount(row).argmax() for row in symbols], dtype=np.int64)[:, None]
    return np.where(np.abs(symbols.astype(np.int64) - commonest) <= 1, commonest, symbols).astype(np.uint8)
