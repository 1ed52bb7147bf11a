"""What an activation store is on disk, and the two writes that make one: an empty store, and one chunk of it.

Both are all or nothing. An empty store is made beside its place and renamed; of a chunk every site is written and synced before
the row of ``checksums`` that vouches for it. bfloat16, which Zarr and NumPy lack, is kept as its 16 bits in a uint16.
"""

from __future__ import annotations

import importlib
import os
import shutil
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hooks._layout import Layout
from hooks.errors import InputError

SCHEMA = 1
KEPT_AS = {"float32": "float32", "float16": "float16", "bfloat16": "uint16"}
MISSING = {
    "float32": np.nan,
    "float16": np.nan,
    "bfloat16": 0x7FC0,
}  # what a chunk that is not there reads as: NaN in each
BITS = {"kept_as": "the 16 bits of a bfloat16; shifted left by 16 they are a float32"}
LABELS = ("text", "position", "token")
LABELS_A_CHUNK = 2**20


def zarr() -> Any:
    """The package, imported when first needed.

    Raises
    ------
    InputError
        When it, or xarray, is not installed.
    """
    try:
        importlib.import_module("xarray")
        return importlib.import_module("zarr")
    except ImportError as error:
        raise InputError(
            f"activations on disk need {error.name}, which is not installed: pip install 'interp-dynamics[capture]'"
        ) from None


def make_empty(path: Path, layout: Layout, tokens: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """An empty store at the path, unless another process has put one there first.

    Parameters
    ----------
    tokens : (states,)
        Of each state.
    attributes
        Of the group; its "settings" say the widths of the sites and their dtype.
    """
    made = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    group = zarr().open_group(made, mode="w", attributes=dict(attributes))
    text, position = layout.labels()
    for name, values in (("lengths", layout.lengths), ("text", text), ("position", position), ("token", tokens)):
        dims = ("text" if name == "lengths" else "state",)
        _array(group, name, values.shape, "int32", dims, 0, (min(LABELS_A_CHUNK, len(values)),))[:] = values
    sites, dtype = attributes["settings"]["sites"], attributes["settings"]["dtype"]
    for site, width in sites.items():
        array = _array(
            group, site, (layout.states, width), KEPT_AS[dtype], ("state", "unit"), MISSING[dtype], (layout.rows, width)
        )
        array.attrs.update(BITS if dtype == "bfloat16" else {})
    _array(group, "checksums", (layout.chunks, len(sites)), "int64", ("chunk", "site"), -1, (1, len(sites)))
    try:
        made.rename(path)
    except OSError:
        shutil.rmtree(made)


def commit(path: Path, layout: Layout, chunk: int, values: Mapping[str, np.ndarray]) -> None:
    """Write one chunk of every site, and then, once they have reached the disk, the mark that it is there."""
    for site, array in values.items():
        _put(path / site, chunk, slice(*layout.chunk(chunk)), array)
    sums = np.array([[checksum(array) for array in values.values()]])
    _put(path / "checksums", chunk, slice(chunk, chunk + 1), sums)


def committed(path: Path, chunks: int) -> np.ndarray:
    """Which chunks are there, (chunks,) bool."""
    there = np.zeros(chunks, dtype=bool)
    folder = path / "checksums" / "c"
    there[[int(name) for name in os.listdir(folder) if (folder / name / "0").exists()] if folder.exists() else []] = (
        True
    )
    return there


def checksum(array: np.ndarray) -> int:
    """CRC-32 of its bytes."""
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)


def widened(array: np.ndarray, dtype: str) -> np.ndarray:
    """What is kept on disk as numbers: 16 bits of bfloat16 are the upper half of a float32; other dtypes pass."""
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array


def _array(
    group: Any, name: str, shape: tuple[int, ...], dtype: str, dims: tuple[str, ...], fill: Any, chunks: tuple[int, ...]
) -> Any:
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, dimension_names=dims, fill_value=fill, compressors=None
    )


def _put(folder: Path, chunk: int, where: slice, values: np.ndarray) -> None:
    own = folder / "c" / str(chunk)
    shutil.rmtree(own, ignore_errors=True)  # what a killed run left
    zarr().open_array(folder, mode="r+")[where] = values
    for file in own.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
