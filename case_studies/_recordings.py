"""Recordings from a file: steps by channels, whatever wrote them.

Public sources: PhysioNet (physionet.org: heartbeats as of the MIT-BIH database, exported by ``rdsamp -c``; scalp recordings of
the EEG Motor Movement/Imagery set, as EDF), OpenNeuro (openneuro.org: time series of brain regions as text).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hooks.errors import InputError
from interp.arrays import npy

TEXT = (".csv", ".tsv", ".txt")


def recording(path: str | Path) -> np.ndarray:
    """(steps, channels) float64 of a .npy, .csv, .tsv, .txt or .edf file; one column, or one axis, is one channel.

    A text file may have a line of names first; its columns are parted by commas, semicolons or blanks. EDF is read by edfio.

    Raises
    ------
    InputError
        When there is no such file, of another kind, with something else than numbers in it, not finite, or with no more steps
        than channels, so that it seems to lie on its side.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    kind = path.suffix.lower()
    if kind not in (".npy", ".edf", *TEXT):
        raise InputError(f"a recording is a .npy, .csv, .tsv, .txt or .edf file, but {path.name} came")
    values = npy(path) if kind == ".npy" else _edf(path) if kind == ".edf" else _text(path)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise InputError(f"{path.name} holds {values.dtype} of shape {values.shape}; a recording is steps by channels")
    steps, channels = values.shape
    if steps <= channels:
        raise InputError(f"{path.name} holds {steps} steps of {channels} channels: transpose it, steps come first")
    if not np.isfinite(values).all():
        step, channel = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{path.name} is not finite at step {step} of channel {channel}: cut or fill such places first"
        )
    return values.astype(np.float64)


def memory(series: np.ndarray) -> int:
    """Steps after which the autocorrelation of a series (steps,) is below 1 / e for the first time; 1 at least."""
    apart = series - series.mean()
    power = np.abs(np.fft.rfft(apart, 2 * len(apart))) ** 2
    correlation = np.fft.irfft(power)[: len(apart)]
    below = np.flatnonzero(correlation < correlation[0] / np.e)
    return int(max(below[0], 1)) if len(below) else 1


def _text(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").replace(";", " ").split("\n")
        named = 0 if _numeric(lines[0]) else 1
        return np.loadtxt(lines[named:], ndmin=2)
    except ValueError as error:
        raise InputError(f"{path.name} is no table of numbers: {error}") from None


def _numeric(line: str) -> bool:
    try:
        return [float(part) for part in line.split()] != []
    except ValueError:
        return False


def _edf(path: Path) -> np.ndarray:
    try:
        from edfio import read_edf
    except ImportError:
        raise InputError("EDF files are read by edfio: pip install edfio") from None
    try:
        signals = [signal.data for signal in read_edf(path).signals]
    except (ValueError, OSError) as error:
        raise InputError(f"{path.name} is no EDF file: {error}") from None
    if len({len(signal) for signal in signals}) != 1:
        raise InputError(f"{path.name} holds signals of different rates: keep those of one rate")
    return np.stack(signals, axis=1)
