"""From a file to tensors, weights only: nothing in it is executed. Content decides, never the extension."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hooks.errors import LoadError

NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
CONVERT = (
    "save the weights alone, with torch.save(model.state_dict(), path) or "
    "safetensors.torch.save_file(model.state_dict(), path), and give that file; trust=True (--trust) runs it as it is"
)


def loaded(path: Path | str, *, trust: bool = False) -> Any:
    """What a file holds: a mapping of tensors, nested or not (or any object, when ``trust`` is given).

    Reads safetensors, files of ``torch.save`` with weights only, and NumPy archives without objects.

    Raises
    ------
    LoadError
        When the file is missing, empty, truncated or of another kind, or would execute code.
    """
    path = Path(path)
    if not path.exists():
        raise LoadError(f"there is no file {path}")
    if path.is_dir():
        raise LoadError(f"{path} is a folder; give the file of weights in it")
    head = path.read_bytes()[:9]
    if not head:
        raise LoadError(f"{path} is empty")
    try:
        if len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
            return load_file(path)
        if head[:2] == b"PK" and _is_numpy(path):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.as_tensor(arrays[name]) for name in arrays.files}
        return _unpickled(path, weights_only=True)
    except SafetensorError as error:
        raise LoadError(f"{path} begins like safetensors but cannot be read: {_line(error)}") from None
    except pickle.UnpicklingError as error:
        if not _is_pickle(path, head):
            raise LoadError(f"{path} holds no weights that can be read, or is cut short: {_line(error)}") from None
        if not trust:
            raise LoadError(f"{path} holds more than weights, and opening it would execute code: {CONVERT}") from None
    except Exception as error:  # bytes that are no pickle end in an exception of any kind
        raise LoadError(f"{path} holds no weights that can be read, or is cut short: {_line(error)}") from None
    return _trusted(path)


def tensors_of(content: Any, *, name: str = "the file") -> dict[str, Tensor]:
    """The flat state dict in what a file holds: checkpoints unwrapped, tensors only.

    Raises
    ------
    LoadError
        When there is none, or a tensor is not real floating point, or not finite.
    """
    for _ in range(4):
        nested = [
            content[key] for key in NESTS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        if not nested:
            break
        content = nested[0]
    if not isinstance(content, Mapping):
        raise LoadError(f"{name} holds a {type(content).__name__}, not a state dict")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise LoadError(f"{name} holds no tensors, only {list(content)[:10]}")
    for key, value in tensors.items():
        if value.is_complex() or (not value.is_floating_point() and value.ndim > 0):
            raise LoadError(f"{key!r} in {name} is {value.dtype}; weights are real floating-point numbers")
        bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
        if bad:
            raise LoadError(f"{key!r} in {name} has {bad} of {value.numel()} values that are NaN or infinite")
    return {key: value.detach().double() if value.is_floating_point() else value for key, value in tensors.items()}


def _is_numpy(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())


def _is_pickle(path: Path, head: bytes) -> bool:
    """Whether the file is a pickle, bare or in torch's archive."""
    if head[:1] == b"\x80":
        return True
    return head[:2] == b"PK" and zipfile.is_zipfile(path)


def _trusted(path: Path) -> Any:
    """The object in a file that the user trusts to run code."""
    try:
        return _unpickled(path, weights_only=False)
    except Exception as error:  # the code in the file may raise anything
        raise LoadError(f"{path} cannot be unpickled: {_line(error)}") from None


def _unpickled(path: Path, *, weights_only: bool) -> Any:
    # through an open file: given a path, torch.load believes its extension; its warnings are about what we refuse ourselves
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=weights_only)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
