"""The maps of a report on disk: weights and settings, so that every number beside them can be taken again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import rebuilt

NAME = "maps.safetensors"


def write_maps(folder: Path, maps: Mapping[str, Mapping[str, Tensor | str | int]]) -> None:
    """Write the weights of every map, fingerprint -> weights, beside a report."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, dict[str, Any]] = {}
    for fingerprint, weights in maps.items():
        parts = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
        tensors |= {f"{fingerprint}/{name}": value.detach().cpu().contiguous().clone() for name, value in parts.items()}
        settings[fingerprint] = {name: value for name, value in weights.items() if name not in parts}
    (folder / NAME).write_bytes(save(tensors, metadata={"maps": json.dumps(settings)}))


def read_maps(folder: Path) -> dict[str, Dynamics]:
    """Fingerprint -> map, each made again from its weights, and named by what these are rather than by the file.

    Raises
    ------
    InputError
        When the file is missing or cannot be read.
    LoadError
        When its weights make no map.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder} holds no {NAME}, so there are no weights to prove anything of")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            settings = json.loads((file.metadata() or {}).get("maps", "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError):
        raise InputError(f"{path} is no file of maps, or is cut short") from None
    found = {}
    for fingerprint, options in settings.items():
        own = {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"{fingerprint}/")}
        dynamics = rebuilt({**options, **own})
        found[dynamics.fingerprint] = dynamics
    return found
