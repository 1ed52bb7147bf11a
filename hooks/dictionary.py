"""Sparse dictionaries that others trained: their files -> encode and decode.

Read are folders and files of SAELens (cfg.json beside sae_weights.safetensors) and of dictionary_learning (ae.pt, weights only,
beside config.json), of the kinds relu, jumprelu and topk; a batch top-k dictionary is read as both libraries use it after
training, by its threshold. What differs between the libraries' tensors (transposed weights, decoder norms in the codes) is
brought to one form:

    codes = activation((states - b_dec) W_enc + b_enc),  states = codes W_dec + b_dec

where b_dec is subtracted first only if the dictionary was trained so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.errors import InputError, LoadError
from hooks.loading import loaded

FILES = (("sae_weights.safetensors", "cfg.json"), ("ae.pt", "config.json"))  # weights, and what says how they are used
BY_RANK = ("topk", "autoencodertopk")
BY_THRESHOLD = ("jumprelu", "jumpreluautoencoder", "batchtopksae", "matryoshkabatchtopksae")
KINDS = ("standard", "autoencoder", "autoencodernew", *BY_RANK, *BY_THRESHOLD)
UNCENTRED = ("autoencodernew", "jumpreluautoencoder")  # of dictionary_learning, whose settings do not say it
LINEAR = {  # names of layers and of a bias -> ours; their weights lie transposed
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
}


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Directions of which few at a time make up a state.

    Attributes
    ----------
    W_enc, b_enc : (width, features), (features,)
    W_dec, b_dec : (features, width), (width,)
    threshold : (features,)
        A code at or below it is 0; no threshold is below 0.
    k
        So many codes, the largest, are kept; 0 for all.
    centred
        Whether b_dec is subtracted before encoding.
    name
        Kind and file.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor
    k: int = 0
    centred: bool = True
    name: str = ""

    @property
    def features(self) -> int:
        """How many directions there are."""
        return len(self.W_dec)

    def encode(self, states: Float[Tensor, "batch width"]) -> Float[Tensor, "batch features"]:
        """How much of each feature is in each state."""
        codes = torch.relu((states - self.b_dec if self.centred else states) @ self.W_enc + self.b_enc)
        codes = codes * (codes > self.threshold)
        if not self.k:
            return codes
        most = codes.topk(self.k, dim=-1)
        return torch.zeros_like(codes).scatter(-1, most.indices, most.values)

    def decode(self, codes: Float[Tensor, "batch features"]) -> Float[Tensor, "batch width"]:
        """The states that these codes stand for."""
        return codes @ self.W_dec + self.b_dec


@dataclass(frozen=True, eq=False)
class FeatureIncrements:
    """An increment as a sum: ``changes @ W_dec + remainder``.

    Attributes
    ----------
    changes : (batch, features)
        Of the codes: how much of each feature came or went.
    remainder : (batch, width)
        What no feature accounts for.
    unexplained
        Its share of the squared length of the increments; above 1 where the dictionary makes it worse.
    """

    changes: Tensor
    remainder: Tensor
    unexplained: float


def load_dictionary(path: Path | str, *, dtype: torch.dtype = torch.float32) -> Dictionary:
    """The sparse dictionary in a folder, or in the file of weights in it.

    Parameters
    ----------
    path
        Read with its weights only; nothing is executed or fetched.
    dtype
        Of the weights, and so of the states it takes.

    Raises
    ------
    LoadError
        When there is no such file, what says how it is used is missing, or the dictionary is of a kind that no pair of encode
        and decode can be: gated ones, those that scale each state by its own norm, and those with tensors that are not known.
    """
    weights, said = _files(Path(path))
    try:
        settings = json.loads(said.read_text())
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{weights} needs {said.name} beside it, which says how the weights are used: {error}"
        ) from None
    settings = settings.get("trainer", settings)
    kind = str(settings.get("dict_class") or settings.get("architecture") or "standard").lower()
    if "topk" in (settings.get("activation_fn_str"), settings.get("activation_fn")):
        kind = "topk"
    if kind not in KINDS:
        raise LoadError(f"{weights} is a dictionary of kind {kind!r}; {', '.join(KINDS)} are read")
    norm = settings.get("normalize_activations") or "none"
    if norm != "none":
        raise LoadError(f"{weights} was trained on states normalised by {norm!r}; fold that into its weights first")

    found = {LINEAR.get(name, name): (name, torch.as_tensor(value)) for name, value in loaded(weights).items()}
    tensors = {ours: value.T if ours != name and value.ndim == 2 else value for ours, (name, value) in found.items()}
    k = int(tensors.pop("k", settings.get("k") or (settings.get("activation_fn_kwargs") or {}).get("k") or 0))
    tensors.pop("group_sizes", None)
    threshold = (
        tensors.pop("threshold", torch.zeros(())).to(dtype) if kind in BY_THRESHOLD else torch.zeros((), dtype=dtype)
    )
    tensors.pop("threshold", None)
    if set(tensors) != {"W_enc", "b_enc", "W_dec", "b_dec"}:
        raise LoadError(
            f"{weights} holds {sorted(tensors)}; a dictionary of kind {kind!r} has W_enc, b_enc, W_dec and b_dec"
        )
    W_enc, b_enc, W_dec, b_dec = (tensors[name].to(dtype) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
    if (W_enc.shape, b_enc.shape, b_dec.shape) != (W_dec.T.shape, W_dec.shape[:1], W_dec.shape[1:]):
        raise LoadError(
            f"{weights} has W_enc {tuple(W_enc.shape)} and W_dec {tuple(W_dec.shape)}, which do not fit each other"
        )
    if kind in BY_RANK and not 0 < k <= len(W_dec):
        raise LoadError(f"{weights} keeps the largest codes, but {said.name} does not say how many of its {len(W_dec)}")
    if settings.get("rescale_acts_by_decoder_norm"):
        norms = W_dec.norm(dim=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    centred = bool(settings.get("apply_b_dec_to_input", kind not in UNCENTRED))
    limit = threshold.clamp(min=0).expand(len(W_dec))
    return Dictionary(W_enc, b_enc, W_dec, b_dec, limit, k * (kind in BY_RANK), centred, f"{kind} dictionary {path}")


def feature_increments(
    dictionary: Dictionary, before: Float[Tensor, "batch width"], after: Float[Tensor, "batch width"]
) -> FeatureIncrements:
    """The step from one state of the stream to the next, split by the features of a dictionary.

    Raises
    ------
    InputError
        When no state moves, so that there is nothing to split.
    """
    moved = after - before
    if not moved.square().sum() > 0:
        raise InputError(f"none of the {len(moved)} states moves, so there is no increment to split")
    with torch.no_grad():
        changes = dictionary.encode(after) - dictionary.encode(before)
        remainder = moved - changes @ dictionary.W_dec
    return FeatureIncrements(changes, remainder, float(remainder.square().sum() / moved.square().sum()))


def _files(path: Path) -> tuple[Path, Path]:
    """The file of weights, and the file that says how they are used."""
    for weights, said in FILES:
        if path.is_dir() and (path / weights).is_file():
            return path / weights, path / said
        if path.is_file() and (path.name == weights or (path.parent / said).is_file()):
            return path, path.parent / said
    raise LoadError(
        f"{path} holds no sparse dictionary: {' or '.join(weights for weights, _ in FILES)} is looked for in it"
    )
