"""The one place that knows TransformerLens: which submodule of a model its name of a site means.

Read from the architecture's adapter, which needs the configuration alone: no weights are copied and no model is wrapped. For
transformer-lens >=4,<5, imported when first asked: that takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from hooks.capture import Place

NAMES = {
    "hook_resid_mid": "resid_mid",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "hook_mixer_out": "mixer_out",
}
SIDES: Mapping[str, Literal["in", "out"]] = {"hook_in": "in", "hook_out": "out"}


def is_bridge(model: nn.Module) -> bool:
    """Whether this is a TransformerBridge, without importing its library."""
    return hasattr(model, "adapter") and hasattr(model, "hook_dict")


def inner_sites(model: nn.Module, blocks: tuple[str, ...]) -> dict[str, Place]:
    """Sites between the two sides of each block, under TransformerLens' names; none of a model it does not know.

    ``resid_mid`` is left out where the first norm belongs to the attention, so that the block normalises after it adds (BERT):
    TransformerLens' hook of that name lies after the MLP there.
    """
    adapter, mapped = _mapped(model, blocks)
    if mapped is None:
        return {}
    first_norm = mapped.submodules.get("ln1")
    after = (first_norm is not None and "att" in (first_norm.name or "")) or getattr(
        adapter.cfg, "do_layer_norm_before", True
    ) is False
    found: dict[str, Place] = {}
    for k, path in enumerate(blocks):
        parts = {name for name, _ in model.get_submodule(path).named_modules(remove_duplicate=False)}
        for alias, target in mapped.hook_aliases.items():
            if alias not in NAMES or not isinstance(target, str) or (after and alias == "hook_resid_mid"):
                continue
            *names, hook = target.split(".")
            inner = target if is_bridge(model) else _path(mapped, names)
            if inner in parts and hook in SIDES:
                found[f"blocks.{k}.{NAMES[alias]}"] = (f"{path}.{inner}", "out" if is_bridge(model) else SIDES[hook])
    return found


def output_projections(model: nn.Module, blocks: tuple[str, ...]) -> tuple[int, dict[int, str]]:
    """How many heads the attention has, and block -> path of the linear map that joins their outputs, where there is one."""
    adapter, mapped = _mapped(model, blocks)
    if mapped is None:
        return 0, {}
    inner = "attn.o" if is_bridge(model) else _path(mapped, ["attn", "o"])
    known = {name for name, _ in model.named_modules(remove_duplicate=False)}
    found = {k: f"{path}.{inner}" for k, path in enumerate(blocks) if inner and f"{path}.{inner}" in known}
    return int(adapter.cfg.n_heads or 0), found


def _mapped(model: nn.Module, blocks: tuple[str, ...]) -> tuple[Any, Any]:
    """The adapter, and its description of these blocks; None for either where there is none."""
    adapter: Any = model.adapter if is_bridge(model) else _adapter(model)
    mapped = (adapter.component_mapping or {}).get("blocks") if adapter is not None else None
    if mapped is None or not mapped.name or (not is_bridge(model) and not _same_list(model, mapped.name, blocks[0])):
        return adapter, None
    return adapter, mapped


def _adapter(model: nn.Module) -> Any:
    """Of the model's own architecture, else of one with a head on the same body; None where there is none."""
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "model_type"):
        return None
    import transformers
    from transformer_lens.factories.architecture_adapter_factory import (
        SUPPORTED_ARCHITECTURES,
        ArchitectureAdapterFactory,
    )
    from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

    own = [kind.__name__ for kind in type(model).__mro__ if kind.__name__ in SUPPORTED_ARCHITECTURES]
    heads = [
        name
        for name in SUPPORTED_ARCHITECTURES
        if getattr(getattr(transformers, name, None), "config_class", None) is type(config)
    ]
    if not own + heads:
        return None
    dtype = next(model.parameters()).dtype
    settings = build_bridge_config_from_hf(copy.deepcopy(config), (own + heads)[0], "a model in memory", dtype)
    return ArchitectureAdapterFactory.select_architecture_adapter(settings)


def _same_list(model: nn.Module, mapped: str, first: str) -> bool:
    """Whether the adapter's list of blocks is the stack's; a body without its head has no prefix."""
    prefix = getattr(model, "base_model_prefix", "") + "."
    return first.rpartition(".")[0] in (mapped, mapped.removeprefix(prefix))


def _path(part: Any, names: list[str]) -> str:
    """Path inside the block of the component that these names lead to; a container may have no module of its own."""
    steps = []
    for name in names:
        part = (part.submodules or {}).get(name)
        if part is None:
            return ""
        steps += [part.name] if part.name else []
    return ".".join(steps)
