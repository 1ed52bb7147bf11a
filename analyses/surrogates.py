"""What would the statistic say if the structure were not there? Series that keep some of a recording's properties and no other.

Every function takes an array with time on axis 1, (rows, steps) or (rows, steps, channels), and returns one of the same shape.
Each row is drawn by itself; its channels share one draw, so that what they have in common at one time stays. For many
surrogates of one recording, repeat it along the rows. Of rows that belong together, as the tokens of one text do, walks take
a label each (``together``), and rows of one label share a draw.

Sources: Theiler, Eubank, Longtin, Galdrikian, Farmer, Physica D 58, 77 (1992), random phases; Prichard and Theiler, Phys. Rev.
Lett. 73, 951 (1994), the same phases for all channels; Schreiber and Schmitz, Phys. Rev. Lett. 77, 635 (1996), iterated
amplitude adjustment. Cost: one sort or one pair of FFTs of each row; ``amplitude_adjusted`` takes one of both an iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from hooks.errors import InputError

ITERATIONS = 200  # of amplitude adjustment: ranks stop changing after 20 to 100 on series of 1e3 to 1e5 steps


def shuffled(
    series: Any, *, together: np.ndarray | None = None, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """The values in random order: keeps the distribution, and nothing of time.

    Raises
    ------
    InputError
        When the array has neither two nor three axes, a value is not finite, or there is not one label a row; so do all
        functions here.
    """
    values = _recorded(series)
    groups, of = _groups(values, together)
    keys = torch.rand(groups, values.shape[1], generator=_drawn(generator), dtype=torch.float64)
    order = keys.argsort(dim=1).numpy()[of]
    return np.take_along_axis(values, _beside(order, values), axis=1)


def block_shuffled(
    series: Any, *, block: int, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """Blocks of ``block`` steps in random order: keeps what is shorter than a block.

    The steps beyond the last whole block form a shorter one. Raises InputError also for a block below 1.
    """
    values = _recorded(series)
    rows, steps = values.shape[:2]
    if block < 1:
        raise InputError(f"a block has one step at least, not {block}")
    keys = torch.rand(rows, -(-steps // block), generator=_drawn(generator), dtype=torch.float64).numpy()
    order = np.argsort(np.repeat(keys, block, axis=1)[:, :steps], axis=1, kind="stable")
    return np.take_along_axis(values, _beside(order, values), axis=1)


def increments_shuffled(
    series: Any, *, together: np.ndarray | None = None, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """A walk from the first value to the last through the same increments in random order."""
    values = _recorded(series)
    return _walk(values, shuffled(np.diff(values, axis=1), together=together, generator=generator))


def increments_flipped(
    series: Any, *, together: np.ndarray | None = None, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """A walk from the first value through the same increments in the same order, each with a random sign."""
    values = _recorded(series)
    steps = np.diff(values, axis=1)
    groups, of = _groups(values, together)
    signs = 2.0 * torch.randint(2, (groups, steps.shape[1]), generator=_drawn(generator)).numpy() - 1
    return _walk(values, steps * _beside(signs[of], values))


def increments_turned(
    series: Any, *, together: np.ndarray | None = None, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps channels"]:
    """A random walk from the first value whose increments keep their lengths: each is turned by an orthogonal map of its own.

    The map permutes the channels and flips their signs at random, so that an increment keeps the sizes of its entries, and
    the rows of one label keep the angles between their increments of one step. Takes series with channels.
    """
    values = _recorded(series)
    if values.ndim != 3:
        raise InputError(f"increments are turned among channels (rows, steps, channels), but shape {values.shape} came")
    steps = np.diff(values, axis=1)
    groups, of = _groups(values, together)
    shape, drawn = (groups, *steps.shape[1:]), _drawn(generator)
    order = torch.rand(shape, generator=drawn).argsort(dim=2).numpy()
    signs = 2.0 * torch.randint(2, shape, generator=drawn).numpy() - 1
    return _walk(values, np.take_along_axis(steps, order[of], axis=2) * signs[of])


def random_walk(
    series: Any, *, drift: bool = True, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """A Gaussian walk from the first value, its increments independent with the mean and covariance of the row's own.

    Without ``drift`` the mean is zero and the second moments are the row's: the mean that a short walk without drift has by
    chance is then not drawn twice.
    """
    values = _recorded(series)
    if not values.size or values.shape[1] == 1:
        return values
    steps = np.diff(values, axis=1).reshape(len(values), values.shape[1] - 1, -1)
    mean = steps.mean(axis=1, keepdims=True) * drift
    _, sizes, axes = np.linalg.svd(steps - mean, full_matrices=False)  # covariances of any rank
    noise = torch.randn(len(steps), steps.shape[1], sizes.shape[1], generator=_drawn(generator), dtype=torch.float64)
    drawn = mean + noise.numpy() * sizes[:, None] / np.sqrt(steps.shape[1]) @ axes
    return _walk(values, drawn.reshape(len(values), -1, *values.shape[2:]))


def phase_randomised(
    series: Any, *, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps *channels"]:
    """A linear Gaussian process with the same spectra and cross-spectra: every Fourier phase turned at random.

    The ends of a row should match: a jump from the last value to the first adds high frequencies.
    """
    values = _recorded(series)
    steps = values.shape[1]
    if steps < 2:
        return values
    spectrum = np.fft.rfft(values, axis=1)
    phases = 2 * np.pi * torch.rand(spectrum.shape[:2], generator=_drawn(generator), dtype=torch.float64).numpy()
    phases[:, 0] = 0.0
    if steps % 2 == 0:
        phases[:, -1] = 0.0  # the highest frequency is real
    return np.fft.irfft(spectrum * np.exp(1j * _beside(phases, values)), steps, axis=1)


def amplitude_adjusted(
    series: Any, *, iterations: int = ITERATIONS, generator: torch.Generator | None = None
) -> Float[np.ndarray, "rows steps"]:
    """A monotonic function of linear Gaussian noise (IAAFT): exactly the same values, and nearly the same spectrum.

    Takes series without channels, since their cross-spectra would be lost. Stops once no rank of any row changes. The
    spectrum that is left over differs by less than a per cent of its variance on smooth distributions.
    """
    values = _recorded(series)
    if not values.size:
        return values
    if values.ndim != 2:
        raise InputError(f"amplitude adjustment takes series (rows, steps), but shape {values.shape} came")
    ordered, amplitudes = np.sort(values, axis=1), np.abs(np.fft.rfft(values, axis=1))
    now = shuffled(values, generator=generator)
    ranks = now.argsort(axis=1).argsort(axis=1)
    for _ in range(iterations):
        spectrum = np.fft.rfft(now, axis=1)
        size = np.abs(spectrum)
        turned = np.divide(spectrum, size, out=np.ones_like(spectrum), where=size > 0)
        before, ranks = (
            ranks,
            np.fft.irfft(amplitudes * turned, values.shape[1], axis=1).argsort(axis=1).argsort(axis=1),
        )
        now = np.take_along_axis(ordered, ranks, axis=1)
        if (ranks == before).all():
            break
    return now


def _recorded(series: Any) -> np.ndarray:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim not in (2, 3):
        raise InputError(
            f"surrogates are drawn of (rows, steps) or (rows, steps, channels), but shape {values.shape} came"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{int((~np.isfinite(values)).sum())} values of the series are not finite")
    return values


def _drawn(generator: torch.Generator | None) -> torch.Generator:
    return generator or torch.Generator().manual_seed(0)


def _groups(values: np.ndarray, together: np.ndarray | None) -> tuple[int, np.ndarray]:
    """How many draws to make, and the draw of each row."""
    if together is None:
        return len(values), np.arange(len(values))
    if np.shape(together) != (len(values),):
        raise InputError(f"together labels each of the {len(values)} rows, but shape {np.shape(together)} came")
    labels, of = np.unique(together, return_inverse=True)
    return len(labels), of


def _beside(per_step: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One number a step, beside every channel."""
    return per_step if values.ndim == 2 else per_step[:, :, None]


def _walk(values: np.ndarray, increments: np.ndarray) -> np.ndarray:
    return np.concatenate([values[:, :1], values[:, :1] + np.cumsum(increments, axis=1)], axis=1)
