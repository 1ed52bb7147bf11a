"""From a network to its map in one call."""

from collections.abc import Mapping
from typing import Any

import torch

from hooks.dynamics import Dynamics
from interp.network import load


def dynamics(
    source: Any,
    *,
    drive: Any = None,
    model: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    nonlinearity: str | None = None,
    relu: int | None = None,
    leak: float | None = None,
    trust: bool = False,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """A network as a map.

    Parameters
    ----------
    source, model, kwargs, nonlinearity, relu, leak, trust
        As in ``interp.load``.
    drive : (inputs,)
        Held, so that the map is autonomous; left out, the map is driven.

    Raises
    ------
    LoadError
        When the source is not a network.
    """
    network = load(source, model=model, kwargs=kwargs, nonlinearity=nonlinearity, relu=relu, leak=leak, trust=trust)
    found = network.dynamics(dtype=dtype, device=device)
    return found if drive is None else found.hold(drive)
