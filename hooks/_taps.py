"""Where the residual stream of a stack of blocks can be tapped, and a tap that passes each tensor on as it is made."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hooks.errors import CaptureError

Keep = Callable[[str, Tensor], None]  # takes (site, what the network made there)


def sites_of(model: nn.Module) -> tuple[str, ...]:
    """``blocks.k.resid_pre`` and ``.resid_post`` of every block of the longest ModuleList."""
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    depth = max((len(part) for part in lists), default=0)
    return tuple(f"blocks.{k}.resid_{which}" for k in range(depth) for which in ("pre", "post"))


def chosen(model: nn.Module, names: str | Sequence[str]) -> tuple[str, ...]:
    """Sites that these names mean, in the model's order: whole names, their ends ("resid_post"), or wildcards of fnmatch."""
    known, found = sites_of(model), set()
    for name in [names] if isinstance(names, str) else names:
        matched = [site for site in known if fnmatch.fnmatch(site, name) or fnmatch.fnmatch(site, f"*.{name}")]
        if not matched:
            raise CaptureError(f"no site {name!r}; there are {', '.join(known[:6])}, ... ({len(known)} in all)")
        found |= set(matched)
    return tuple(site for site in known if site in found)


@contextmanager
def tapped(model: nn.Module, sites: Sequence[str], keep: Keep) -> Iterator[None]:
    """While inside, ``keep`` is given what each site holds, as it is made; it must not keep the tensor itself."""
    blocks = max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len)
    handles = []
    try:
        for site in sites:
            _, number, which = site.split(".")
            block = blocks[int(number)]
            if which == "resid_pre":
                handles.append(block.register_forward_pre_hook(partial(_entering, keep, site), with_kwargs=True))
            else:
                handles.append(block.register_forward_hook(partial(_leaving, keep, site)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(model: nn.Module, tokens: Tensor) -> Any:
    """One forward pass without gradients or caches, on the model's own device."""
    weight = next(model.parameters(), None)
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with torch.inference_mode():
        return model(tokens if weight is None else tokens.to(weight.device), **options)


def _entering(keep: Keep, site: str, block: nn.Module, args: Any, options: dict[str, Any]) -> None:
    keep(site, args[0] if args else options["hidden_states"])


def _leaving(keep: Keep, site: str, block: nn.Module, args: Any, output: Any) -> None:
    keep(site, output if isinstance(output, Tensor) else output[0])
