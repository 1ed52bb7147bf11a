"""An autoencoder read as a loop: codes of data, what a code says, and the map code -> encode(decode(code)).

A module is one when it has methods ``encode`` and ``decode``, or parts ``encoder`` and ``decoder``. Where a method returns
several values, as a variational encoder returns mean and spread, the first is taken: the mean.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families._chains import chain, chain_weights
from hooks.families._parts import named_digest
from hooks.families.loop import loop

NAMES = (("encode", "decode"), ("encoder", "decoder"))
CHUNK = 1024  # inputs encoded at once


class Part(nn.Module):
    """One way through the pair, from rows of numbers to rows of numbers; the shapes in between are the module's own."""

    def __init__(self, module: nn.Module, name: str, enters: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.name, self.enters = module, name, enters

    def forward(self, rows: Any) -> Any:
        """(batch, numbers) -> (batch, numbers)."""
        said = getattr(self.module, self.name)(rows if len(self.enters) == 1 else rows.unflatten(1, self.enters))
        said = said[0] if isinstance(said, tuple | list) else said
        return said if said.ndim == 2 else said.flatten(1)

    def extra_repr(self) -> str:
        """For fingerprints."""
        return f"{self.name} of {self.enters}"


@dataclass(frozen=True, eq=False)
class EncodeDecode:
    """The two ways of an autoencoder, as functions of flat rows.

    Attributes
    ----------
    encode, decode
        (batch, values) -> (batch, dim) and back.
    dim
        Numbers in a code.
    name
        Of the class.
    """

    encode: Part
    decode: Part
    dim: int
    name: str

    def codes(self, data: Any) -> Tensor:
        """(batch, dim) float64 codes of data (batch, ...)."""
        return _in_parts(self.encode, data)

    def decoded(self, codes: Any) -> Tensor:
        """(batch, values) float64, what codes say."""
        return _in_parts(self.decode, codes)

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The map of a code; its readout is what the code says. It carries its weights where both parts are chains of linear
        layers and nonlinearities."""
        found = loop(self.encode, self.decode, dim=self.dim, dtype=dtype, device=device)
        parts = [getattr(part.module, part.name) for part in (self.decode, self.encode)]
        written = chain_weights(*parts) if all(isinstance(part, nn.Module) for part in parts) else {}
        if not written or max(len(part.enters) for part in (self.decode, self.encode)) > 1:
            return found
        written["family"] = "loop"
        return replace(found, weights=written, fingerprint=named_digest(written))


def looped(weights: Mapping[str, Any]) -> Dynamics:
    """The map of a code again, from the ``weights`` that it carries; without its readout."""
    whole = chain(weights)
    dim = next(layer.in_features for layer in whole if isinstance(layer, nn.Linear))
    return replace(
        loop(nn.Identity(), whole, dim=dim), weights=weights, readout=None, fingerprint=named_digest(weights)
    )


def is_encode_decode(module: Any) -> bool:
    """Whether a module has ``encode`` and ``decode``, or ``encoder`` and ``decoder``."""
    return isinstance(module, nn.Module) and _names(module) is not None


def encode_decode(module: nn.Module, data: Any = None) -> EncodeDecode:
    """An autoencoder as its two ways, in float64 and eval mode.

    Parameters
    ----------
    module
        Copied; the user's is never changed.
    data : (batch, ...)
        Inputs, of which the first two are encoded for the shapes. Left out, they are as wide as the encoder's first layer, a
        linear one, takes.

    Raises
    ------
    InputError
        When the module is no such pair, an input or its code cannot be taken through it, or the shapes cannot be told.
    """
    kind, names = type(module).__name__, _names(module)
    if names is None:
        raise InputError(f"{kind} has no encode and decode, and no encoder and decoder")
    twin = copy.deepcopy(module).double().eval().requires_grad_(False)
    if data is None:
        width = _first_width(getattr(twin, names[0]))
        if not width:
            raise InputError(f"what {kind} takes cannot be told from its layers: give it data")
        sample = torch.zeros(2, width, dtype=torch.float64)
    else:
        sample = torch.as_tensor(data)[:2].double()
    shape = tuple(sample.shape[1:])
    try:
        with torch.no_grad():
            code = getattr(twin, names[0])(sample)
            code = code[0] if isinstance(code, tuple | list) else code
            dim = int(code[0].numel())
            parts = Part(twin, names[0], shape), Part(twin, names[1], tuple(code.shape[1:]))
            back = parts[1](code.flatten(1))
    except Exception as error:  # the user's code may raise anything
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{kind} does not take inputs of shape {shape}: {type(error).__name__}: {said}") from error
    if len(code) != len(sample) or back.shape != sample.flatten(1).shape:
        raise InputError(
            f"{kind} takes inputs of shape {shape} to {tuple(back.shape[1:])} numbers: decode must give back what encode takes"
        )
    return EncodeDecode(*parts, dim, kind)


def _names(module: nn.Module) -> tuple[str, str] | None:
    return next((pair for pair in NAMES if all(callable(getattr(module, name, None)) for name in pair)), None)


def _first_width(part: Any) -> int | None:
    """Numbers that the first linear layer of a part takes; None where the part begins otherwise."""
    leaves = [layer for layer in part.modules() if not any(layer.children())] if isinstance(part, nn.Module) else []
    return leaves[0].in_features if leaves and isinstance(leaves[0], nn.Linear) else None


def _in_parts(part: Part, rows: Any) -> Tensor:
    values = torch.as_tensor(rows).double().flatten(1)
    with torch.no_grad():
        return torch.cat([part(some) for some in values.split(CHUNK)]) if len(values) else part(values)
