"""A model larger than memory: each block is read from disk when it runs, and forgotten when it is done.

The model is built without weights from its configuration, so that masks, rotary positions and whatever else its own forward
pass does stay its own. A hook before each block fills it from the safetensors files, a hook behind it empties it again: one
block is in memory, with the pages of the file it comes from, beside the states and what lies outside the blocks (embeddings,
last norm). ``stack_of``, ``record_stream``, ``capture`` and ``residual`` take such a model as they take any other.

Cost: each pass reads the files once, so give ``record_stream`` as many texts at once as memory holds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hooks.errors import InputError, LoadError
from hooks.stack import stack_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Shards:
    """The safetensors files of one folder: name of a tensor -> the file that holds it."""

    folder: Path
    files: Mapping[str, str]

    def read(self, names: Sequence[str], device: str) -> dict[str, Tensor]:
        """These tensors, each file opened once."""
        from safetensors import safe_open

        wanted = defaultdict(list)
        for name in names:
            wanted[self.files[name]].append(name)
        tensors: dict[str, Tensor] = {}
        for file, held in wanted.items():
            with safe_open(self.folder / file, framework="pt", device=device) as opened:
                tensors |= {name: opened.get_tensor(name) for name in held}
        return tensors


def streamed(folder: Path | str, *, dtype: torch.dtype | None = None, device: str = "cpu") -> nn.Module:
    """The body of a transformers model, without its head, whose blocks are on disk until they run.

    Parameters
    ----------
    folder
        With config.json and model.safetensors, or its shards and their index, as ``save_pretrained`` writes them. No code in it
        is run and nothing is looked up elsewhere.
    dtype
        Of the weights in memory; as the configuration says when left out.

    Returns
    -------
    nn.Module
        In eval mode, without gradients of weights, with eager attention (whose tangents torch can push). Its blocks are empty
        (on torch's "meta" device) except while they run; ``state_dict`` reads them.

    Raises
    ------
    LoadError
        When the folder is none of these, or lacks a weight that the model needs under the name it has there. Some mixtures of
        experts are stored under other names than they run with; those are refused.
    """
    import transformers

    shards = _shards(Path(folder))
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config, attn_implementation="eager", dtype=dtype or config.dtype)
    model.eval().requires_grad_(False)
    try:
        blocks = stack_of(model).blocks
    except InputError as error:
        raise LoadError(f"{folder}: {error}") from error

    _make_buffers(model, device)

    stored = {name: _stored(name, model.base_model_prefix, shards) for name in model.state_dict()}
    missing = [name for name, key in stored.items() if key not in shards.files]
    if missing:
        raise LoadError(
            f"{folder} has no weights {', '.join(missing[:4])} ({len(missing)} in all) of {type(model).__name__}: it holds "
            f"{', '.join(list(shards.files)[:4])} and others"
        )
    inside = tuple(f"{path}." for path in blocks)
    _fill(shards, {name: key for name, key in stored.items() if not name.startswith(inside)}, device, model)
    for part in model.parameters():
        part.data = part.data.clone()  # of its own, or it would hold the file and every block in it
    for path, prefix in zip(blocks, inside, strict=True):
        names = {name.removeprefix(prefix): key for name, key in stored.items() if name.startswith(prefix)}
        block = model.get_submodule(path)
        block.register_forward_pre_hook(partial(_enters, shards, names, device))
        block.register_forward_hook(partial(_leaves, names), always_call=True)
        block.register_state_dict_post_hook(partial(_written, shards, names))
    return model


def _shards(folder: Path) -> Shards:
    if not (folder / "config.json").is_file():
        raise LoadError(f"{folder} has no config.json, so it is no folder of a saved transformers model")
    if (folder / INDEX).is_file():
        return Shards(folder, json.loads((folder / INDEX).read_text())["weight_map"])
    if (folder / SINGLE).is_file():
        from safetensors import safe_open

        with safe_open(folder / SINGLE, framework="pt") as opened:
            return Shards(folder, dict.fromkeys(opened.keys(), SINGLE))
    raise LoadError(f"{folder} holds neither {SINGLE} nor {INDEX}: blocks are streamed from safetensors alone")


def _make_buffers(model: Any, device: str) -> None:
    """Give their values to the buffers that no file holds, such as rotary frequencies, by the model's own initialisation.

    Run twice over different values, to see that it writes every one of them; the weights stay empty.
    """
    kept = model.state_dict().keys()
    for path, part in model.named_modules():
        own = {key for key, _ in part.named_buffers(recurse=False) if f"{path}.{key}".lstrip(".") not in kept}
        made: list[dict[str, Tensor]] = []
        for value in (0, 1) if own else ():
            for key in own:
                part._buffers[key] = torch.full_like(getattr(part, key), value, device=device)
            with torch.no_grad():
                model._init_weights(part)
            made.append({key: getattr(part, key).clone() for key in own})
        unknown = [key for key in own if not torch.equal(made[0][key], made[1][key])]
        if unknown:
            raise LoadError(
                f"{path} of {type(model).__name__} has a buffer {unknown[0]!r} that no file and no rule gives"
            )


def _stored(name: str, prefix: str, shards: Shards) -> str:
    """What a weight of the body is called in a file that may hold the head as well."""
    return f"{prefix}.{name}" if f"{prefix}.{name}" in shards.files else name


def _fill(shards: Shards, names: Mapping[str, str], device: str, module: nn.Module) -> None:
    """Put these weights into a module, in the dtype that its empty ones have; in that of the file they are pages of it."""
    read = shards.read(list(names.values()), device)
    empty = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: read.pop(key).to(empty[name].dtype) for name, key in names.items()}
    module.load_state_dict(weights, strict=False, assign=True)


def _enters(shards: Shards, names: Mapping[str, str], device: str, block: nn.Module, args: Any) -> None:
    _fill(shards, names, device, block)


def _leaves(names: Mapping[str, str], block: nn.Module, args: Any, output: Any) -> None:
    held = {**dict(block.named_parameters()), **dict(block.named_buffers())}
    block.load_state_dict({name: held[name].to("meta") for name in names}, strict=False, assign=True)


def _written(
    shards: Shards, names: Mapping[str, str], block: nn.Module, state: dict[str, Any], prefix: str, metadata: Any
) -> None:
    read = shards.read(list(names.values()), "cpu")
    for name, key in names.items():
        if state[prefix + name].is_meta:
            state[prefix + name] = read.pop(key).to(state[prefix + name].dtype)
