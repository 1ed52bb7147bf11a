"""From a file to tensors, weights only: nothing in it is executed. Content decides, never the extension."""

from __future__ import annotations

import pickle
import re
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
INTEGERS = re.compile(
    r"sign|dale|\bei$|mask|count|num_|step|index|indices"
)  # names whose values need not be floating point
LONGEST_HEADER = 100_000_000  # bytes, of safetensors' own reader
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9"  # the number that torch's files began with before they were archives
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
    nothing = (
        f"{path} holds no weights that can be read, or is cut short: it is no whole file of safetensors, torch or NumPy"
    )
    try:
        if head[8:] == b"{" and int.from_bytes(head[:8], "little") < LONGEST_HEADER:
            return load_file(path)
        if head[:2] == b"PK" and _is_numpy(path):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.as_tensor(arrays[name]) for name in arrays.files}
        return _unpickled(path, weights_only=True)
    except SafetensorError:
        raise LoadError(f"{path} begins like safetensors but is cut short or damaged") from None
    except pickle.UnpicklingError:
        if not _is_pickle(path, head):
            raise LoadError(nothing) from None
        if not trust:
            raise LoadError(f"{path} holds more than weights, and opening it would execute code: {CONVERT}") from None
    except Exception:  # bytes that are no pickle end in an exception of any kind
        raise LoadError(nothing) from None
    return _trusted(path, head)


def tensors_of(content: Any, *, name: str = "the file") -> dict[str, Tensor]:
    """The flat state dict in what a file holds: checkpoints unwrapped, tensors only.

    Raises
    ------
    LoadError
        When there is none, or a tensor is not real floating point (booleans are taken, integers where the name says signs, a
        mask, an index or a counter), or not finite.
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
    tensors = {
        str(key): torch.as_tensor(value)
        for key, value in content.items()
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc")
    }
    if not tensors:
        raise LoadError(f"{name} holds no tensors, only {list(content)[:10]}")
    for key, value in tensors.items():
        whole = value.dtype == torch.bool or value.ndim == 0 or INTEGERS.search(key.rsplit(".", 1)[-1]) is not None
        if value.is_complex() or not (value.is_floating_point() or whole):
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


def _trusted(path: Path, head: bytes) -> Any:
    """The object in a file that the user trusts to run code."""
    try:
        if (
            head[:1] == b"\x80" and head != LEGACY
        ):  # pickle.dump; torch.load would unpickle it and then ask for its own number
            with path.open("rb") as file:
                return pickle.load(file)
        return _unpickled(path, weights_only=False)
    except Exception as error:  # the code in the file may raise anything
        said = " ".join(str(error).split())
        raise LoadError(f"{path} cannot be unpickled: {type(error).__name__}: {said[:200]}") from None


def _unpickled(path: Path, *, weights_only: bool) -> Any:
    # through an open file: given a path, torch.load believes its extension; its warnings are about what we refuse ourselves
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=weights_only)
