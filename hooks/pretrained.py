"""Models of the transformers library from a folder or a hub id: its weights are read and no code of theirs is run.

A folder, and an id whose files are in the local cache, load without one attempt to connect. For an id that is not there, one
quick look says whether the hub can be reached; where it cannot, that is said at once, in place of the library's retries.
"""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from torch import nn

from hooks._lens import is_bridge
from hooks.errors import LoadError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy", ".pkl", ".pickle", ".json", ".gguf")
PATIENCE = 3.0  # seconds for the look at the hub

T = TypeVar("T")


def is_pretrained(source: Any) -> bool:
    """Whether this is a folder with a config.json, or what can only be a hub id: no existing path, and no file's name."""
    path = Path(source)
    if path.exists():
        return (path / "config.json").is_file()
    return HUB_ID.fullmatch(str(source)) is not None and path.suffix.lower() not in FILES


def is_transformers(module: Any) -> bool:
    """Whether this is a model of the transformers library or a TransformerBridge, without importing either."""
    return isinstance(module, nn.Module) and (
        is_bridge(module) or hasattr(getattr(module, "config", None), "model_type")
    )


def pretrained(source: Path | str, *, revision: str | None = None, trust: bool = False) -> nn.Module:
    """The model in a folder saved by ``save_pretrained`` or under a hub id, in eval mode and its own dtype.

    Parameters
    ----------
    source
        A folder with config.json and weights, or an id such as "gpt2". The model is of the class that its configuration names.
    revision
        Branch, tag or commit of a hub id.
    trust
        Run the model's own code, where its files bring some. Only for code that you have read.

    Raises
    ------
    LoadError
        One line: when the folder or id is none, the hub cannot be reached, or the model is of no known class.
    """
    import transformers

    def read(place: str, **where: Any) -> nn.Module:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=trust, **where)
        named = [getattr(transformers, name, None) for name in config.architectures or ()]
        kind: Any = next((model for model in named if model is not None), transformers.AutoModel)
        own = {} if named and named[0] is not None else {"trust_remote_code": trust}
        model, told = kind.from_pretrained(place, dtype="auto", output_loading_info=True, **own, **where)
        if missing := sorted(told["missing_keys"]):
            raise ValueError(f"it holds no weights for {', '.join(missing[:4])} ({len(missing)} in all)")
        return model.eval()

    return from_library(source, read, revision=revision)


def tokenizer(source: Path | str, *, revision: str | None = None, trust: bool = False) -> Any:
    """The tokenizer of the model in a folder or under a hub id, an object of the transformers library.

    Raises
    ------
    LoadError
        As ``pretrained``, and when it has no tokens, which is what the library makes of a folder without one.
    """
    import transformers

    def read(place: str, **where: Any) -> Any:
        found = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=trust, **where)
        if len(found) <= len(found.all_special_tokens):
            raise ValueError("its tokenizer has no tokens")
        return found

    return from_library(source, read, revision=revision)


def from_library(source: Path | str, read: Callable[..., T], *, revision: str | None = None) -> T:
    """What ``read(place, ...)`` makes of a folder or hub id, with the arguments of the transformers library's from_pretrained.

    Raises
    ------
    LoadError
        As ``pretrained``.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source)
    if not folder.exists():
        # the library's own local_files_only writes the hub a line about itself before it looks
        cached = try_to_load_from_cache(str(source), "config.json", revision=revision)
        folder = Path(cached).parent if isinstance(cached, str) else folder
    if folder.exists():
        try:
            return read(str(folder), local_files_only=True)
        except Exception as error:  # the library lets errors of many other libraries through
            if Path(source).exists():
                raise LoadError(f"{source} cannot be read by transformers: {_line(error)}") from None
    _look_for_hub(source)
    try:
        return read(str(source), revision=revision)
    except Exception as error:
        raise LoadError(f"{source} cannot be loaded from the hub: {_line(error)}") from None


def _look_for_hub(source: Path | str) -> None:
    """Raise LoadError unless the hub, or the proxy on the way to it, takes a connection."""
    from huggingface_hub import constants

    absent = f"there is no folder {source}, nor a model of that id in the local cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise LoadError(f"{absent}, and HF_HUB_OFFLINE forbids to fetch it")
    hub = urlsplit(constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(hub.scheme)
    way = urlsplit(proxy) if proxy and not urllib.request.proxy_bypass(hub.hostname or "") else hub
    try:
        port = way.port or (443 if way.scheme == "https" else 80)
        socket.create_connection((way.hostname or "", port), timeout=PATIENCE).close()
    except OSError as error:
        raise LoadError(f"{absent}, and {way.hostname} cannot be reached to fetch it ({_line(error)})") from None


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if "trust_remote_code" in said:
        return "it brings code of its own; trust=True (--trust) runs that code"
    return said if len(said) <= 300 else f"{said[:297]}..."
