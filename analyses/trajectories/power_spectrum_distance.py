"""Does a generated trajectory have the rhythms of the true one? The Hellinger distance D_H of their power spectra.

Method, coordinate by coordinate: each recording is standardised by its own mean and deviation, |rFFT|^2 is averaged over its
runs, smoothed by a Gaussian of ``smoothing`` frequency bins (reflected at the ends, cut at four deviations) and divided by its
sum; then H = sqrt(1 - sum sqrt(p q)), and the mean over coordinates is taken. 0: the same spectrum; 1: no frequency in common.
A recording with a run that was cut because it overflowed is at distance 1, as in the published code.

Published implementations differ in the smoothing (20 bins; 1 for short recordings), and it matters: bins are 1 / (steps dt)
wide, so the same number smooths a short recording over a wider band. Spectra are rough however long the recording is, so the
distance of two recordings of one system is not 0; it stands beside that of the halves of the true recording, and of
independent recordings where they are given.

Source: Mikhaeil, Monfared, Durstewitz, NeurIPS 2022; Hess et al., ICML 2023. Takes two Trajectories with the same number of
steps; costs an FFT of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from analyses.result import Check, Null, Result, axes_or_new
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STILL = 1e-12  # of the largest value: a coordinate that deviates less is constant
SHORTEST = 8  # steps


@dataclass(frozen=True, eq=False)
class PowerSpectrumDistance(Result):
    """D_H, coordinate by coordinate and in the mean.

    Attributes
    ----------
    distance
        Mean of ``distances``.
    distances : (dim,)
        Two constant coordinates are at 0, a constant and another at 1.
    halves
        Distance of the halves of the true recording in time, at the same smoothing in frequency: what sampling alone gives.
    frequencies : (bins,)
        Cycles per step.
    spectra : (2, dim, bins)
        Smoothed and normalised, true and generated; zeros for a constant or a recording that was cut.
    smoothing
        In bins.
    nulls
        "independent recordings": their distance from the true one; none when none was given.
    checks
        The true recording is at distance 0 from itself.
    """

    distance: float
    distances: Float[np.ndarray, " dim"]
    halves: float
    frequencies: Float[np.ndarray, " bins"]
    spectra: Float[np.ndarray, "2 dim bins"]
    smoothing: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The distance beside that of the true system from itself."""
        text = f"power spectra of {len(self.distances)} coordinates are {self.distance:.3g} apart (Hellinger, smoothed over "
        text += f"{self.smoothing:g} bins), those of the true recording's halves {self.halves:.3g}"
        for null in self.nulls:
            text += (
                f"; {len(null.draws)} independent recordings are {null.draws.min():.3g} to {null.draws.max():.3g} apart"
            )
            if not null.beaten:
                text += ", so it is not shown to differ from them" if len(null.draws) >= 19 else ", too few to tell by"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Spectra of the first four coordinates, true (dashed) and generated."""
        ax = axes_or_new(ax)
        for axis in range(min(4, len(self.distances))):
            true, generated = self.spectra[:, axis]
            if true.any():
                ax.plot(self.frequencies, true, "--", color=f"C{axis}", linewidth=1)
            if generated.any():
                ax.plot(
                    self.frequencies,
                    generated,
                    color=f"C{axis}",
                    linewidth=1,
                    label=f"coordinate {axis + 1}, generated",
                )
        ax.set(xlabel="cycles per step (dashed: true)", ylabel="share of power")
        if self.spectra.any():
            ax.set_yscale("log")
        return ax


def power_spectrum_distance(
    true: Trajectory, generated: Trajectory, *, smoothing: float = 20.0, others: Trajectory | None = None
) -> PowerSpectrumDistance:
    """D_H of a generated trajectory from the true one.

    Parameters
    ----------
    true, generated
        Past their transients, in the same coordinates, with the same number of steps; spectra are averaged over runs.
    smoothing
        Deviation of the Gaussian in frequency bins; 0 for none.
    others
        Independent recordings of the true system, one a run: 19 for a level of 5 %. ``generated`` needs one run then, for
        spectra averaged over more runs are smoother.

    Raises
    ------
    InputError
        For different widths or numbers of steps, fewer than 8 steps, a negative smoothing, a true recording or another one with
        a run that was cut, or others beside several generated runs.
    """
    compared = (true, generated) if others is None else (true, generated, others)
    shapes = {recording.states.shape[1:] for recording in compared}
    steps, dim = true.states.shape[1:]
    if len(shapes) > 1 or steps < SHORTEST:
        raise InputError(
            f"recordings have the same steps, {SHORTEST} at least, and coordinates, but {sorted(shapes)} came"
        )
    if smoothing < 0:
        raise InputError(f"the smoothing is a number of bins, not {smoothing}")
    if not true.valid.all() or (others is not None and not others.valid.all()):
        raise InputError("the true recordings have runs that were cut: leave those out")
    if others is not None and len(generated.states) != 1:
        raise InputError(
            f"others are compared one run at a time, so generated needs one run, not {len(generated.states)}"
        )

    reference = _spectrum(true.states, smoothing)
    made = _spectrum(generated.states, smoothing) if generated.valid.all() else np.zeros_like(reference)
    distances = _hellinger(reference, made) if generated.valid.all() else np.ones(dim)
    middle = steps // 2
    halves = [_spectrum(part, smoothing / 2) for part in (true.states[:, :middle], true.states[:, -middle:])]
    nulls: tuple[Null, ...] = ()
    if others is not None:
        draws = np.array([_hellinger(reference, _spectrum(run[None], smoothing)).mean() for run in others.states])
        hypothesis = "the generated orbit is another recording of the true system"
        nulls = (Null("independent recordings", hypothesis, "recording", draws, float(distances.mean())),)
    return PowerSpectrumDistance(
        distance=float(distances.mean()),
        distances=distances,
        halves=float(_hellinger(*halves).mean()),
        frequencies=np.fft.rfftfreq(steps),
        spectra=np.stack([reference, made]),
        smoothing=float(smoothing),
        nulls=nulls,
        # sqrt(1 - sum) of a sum that is 1 to rounding: half the digits
        checks=(Check("true recording from itself", 0.0, float(_hellinger(reference, reference).mean()), 1e-6),),
    )  # fmt: skip


def _spectrum(states: np.ndarray, smoothing: float) -> np.ndarray:
    """(runs, steps, dim) -> (dim, bins) smoothed power of sum 1; zeros for a constant."""
    mean, spread = states.mean(axis=(0, 1)), states.std(axis=(0, 1))
    still = spread <= STILL * np.abs(states).max(axis=(0, 1))
    standard = (states - mean) / np.where(still, 1.0, spread)
    power = (np.abs(np.fft.rfft(standard, axis=1)) ** 2).mean(axis=0).T
    smooth = gaussian_filter1d(power, smoothing, axis=1, mode="reflect", truncate=4.0) if smoothing else power
    total = smooth.sum(axis=1, keepdims=True)
    return np.where(still[:, None], 0.0, smooth / np.where(total > 0, total, 1.0))


def _hellinger(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(dim,); two coordinates without power are alike."""
    neither = ~one.any(axis=1) & ~other.any(axis=1)
    return np.where(neither, 0.0, np.sqrt(np.maximum(0.0, 1 - np.sqrt(one * other).sum(axis=1))))
