"""Arrays from files: numbers alone, nothing unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hooks.errors import InputError


def npy(path: Path | str) -> np.ndarray:
    """The array in a .npy file, whatever its extension.

    Raises
    ------
    InputError
        When there is no such file, or it holds anything but numbers, or is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InputError(f"{path} is no .npy array of numbers, or is cut short: write it with numpy.save") from None
