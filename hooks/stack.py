"""Where is the stack of blocks in a network, and which stream of states runs through it?

``stack_of`` finds the blocks of any transformers model, TransformerBridge or torch module, and names its sites as
TransformerLens does, without the prefix ``hook_``: ``blocks.3.resid_pre``, ``.resid_mid``, ``.resid_post``, ``.attn_out``,
``.mlp_out``, ``.mixer_out``. Hooks sit on the user's own submodules while they are needed; nothing is copied or changed.
``record_stream`` runs texts through and keeps the residual stream: one run a text and position, one step a block.

Cost: one forward pass of the body (the head is not run) and a copy of each kept state.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hooks._lens import inner_sites, is_bridge
from hooks.capture import Place, capture
from hooks.dynamics import digest
from hooks.errors import CaptureError, InputError
from hooks.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Stack:
    """A network whose blocks pass one stream on, each adding to it.

    Attributes
    ----------
    module
        The user's own, unchanged.
    blocks
        Dotted paths of the blocks in it, in the order in which they run.
    width
        Of the stream.
    """

    module: nn.Module
    blocks: tuple[str, ...]
    width: int

    @property
    def name(self) -> str:
        """What to call it: the class and its size."""
        return f"{type(self.module).__name__}, {len(self.blocks)} blocks of width {self.width}"

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the blocks' weights; read once, at the cost of one pass over them."""
        blocks = (self.module.get_submodule(path) for path in self.blocks)
        return digest(self.name, *(part for block in blocks for pair in block.state_dict().items() for part in pair))

    @property
    def residual_sites(self) -> Mapping[str, Place]:
        """``blocks.k.resid_pre`` and ``.resid_post``, the two sides of each block."""
        if is_bridge(self.module):  # the hook points that its own cache reads
            return {
                f"blocks.{k}.resid_{which}": (f"{path}.hook_{side}", "out") for k, path, which, side in self._sides()
            }
        return {f"blocks.{k}.resid_{which}": (path, side) for k, path, which, side in self._sides()}

    @cached_property
    def sites(self) -> Mapping[str, Place]:
        """Every site that has a name -> its submodule's path and side: ``capture(stack.module, names, places=stack.sites)``.

        Asking for them imports TransformerLens, which takes seconds; ``residual_sites`` does not.
        """
        inner = inner_sites(self.module, self.blocks)
        order = ("resid_pre", "mixer_out", "attn_out", "resid_mid", "mlp_out", "resid_post")
        every = {**self.residual_sites, **inner}
        return {
            name: every[name]
            for k in range(len(self.blocks))
            for name in (f"blocks.{k}.{kind}" for kind in order)
            if name in every
        }

    def _sides(self) -> list[tuple[int, str, str, Any]]:
        return [
            (k, path, which, side)
            for k, path in enumerate(self.blocks)
            for which, side in (("pre", "in"), ("post", "out"))
        ]

    def run(self, inputs: Tensor) -> Any:
        """One forward pass of the body, without its head, gradients or caches, on the model's own device.

        Parameters
        ----------
        inputs : (texts, steps) of whole numbers, or what else the module takes first
        """
        body = getattr(self.module, "base_model", self.module)
        weight = next(self.module.parameters(), None)
        options: dict[str, Any] = {"return_type": None} if is_bridge(self.module) else {}
        options |= {"use_cache": False} if "use_cache" in inspect.signature(body.forward).parameters else {}
        with torch.no_grad():
            return body(inputs if weight is None else inputs.to(weight.device), **options)


def stack_of(model: Any, *, blocks: str | Sequence[str] | None = None, width: int | None = None) -> Stack:
    """The stack of blocks of a model.

    Parameters
    ----------
    model
        Any model of transformers, a TransformerBridge, or a torch module whose blocks take (batch, steps, width) first and
        return the same, alone or first. A Stack is returned as it is.
    blocks
        Path of the module that lists the blocks, or the paths of all blocks in order. The longest nn.ModuleList that lies in no
        other when left out.
    width
        Of the stream; read from the configuration, or from the first embedding, when left out.

    Raises
    ------
    InputError
        When there is no list of blocks or more than one that is longest, no width is known, the module is in training mode, or
        its blocks take the steps before the batch.
    """
    if isinstance(model, Stack):
        return model
    if not isinstance(model, nn.Module):
        raise InputError(f"a stack is found in a torch module, but a {type(model).__name__} came")
    kind = type(model).__name__
    paths = tuple(blocks) if blocks is not None and not isinstance(blocks, str) else _listed(model, blocks)
    known = dict(model.named_modules())
    missing = [path for path in paths if path not in known]
    if missing or not paths:
        raise InputError(f"{kind} has no blocks {missing or list(paths)}; blocks= takes paths of model.named_modules()")
    if any(known[path].training for path in paths):
        raise InputError(f"{kind} is in training mode, in which dropout draws: call .eval() first")
    for path in paths:
        if any(isinstance(part, nn.MultiheadAttention) and not part.batch_first for part in known[path].modules()):
            raise InputError(
                f"block {path!r} of {kind} takes the steps before the batch; build it with batch_first=True"
            )
    found = _width(model) if width is None else width
    if not found:
        raise InputError(f"nothing in {kind} says how wide its stream is: pass width=")
    return Stack(model, paths, found)


def record_stream(stack: Stack, tokens: Any, *, positions: Any = None, batch: int = 8) -> Trajectory:
    """The residual stream at every block: the state that enters block 0, then the one that leaves each block.

    Parameters
    ----------
    tokens
        (texts, steps) whole numbers, or a sequence of texts of any lengths; (texts, steps, features) where the module takes
        vectors. Texts of one length are run together, so nothing is padded.
    positions
        Kept of each text: an index, several, or a slice, negative from its end; all when left out.
    batch
        Texts at once.

    Returns
    -------
    Trajectory
        On the clock "layer": runs = texts x positions, text after text; steps = blocks + 1; drive t is t.
        Labels ``text``, ``position`` and ``token`` (-1 where vectors came), one a run. Where every block runs several times in
        one pass, in turn, as in depth-recurrent models, each time is a step.

    Raises
    ------
    InputError
        For texts that are empty or no numbers, and positions outside a text.
    CaptureError
        When a block does not give (texts, steps, width).
    """
    texts = as_texts(tokens)
    kept = [positions_in(len(text), positions) for text in texts]
    names = ["blocks.0.resid_pre", *(f"blocks.{k}.resid_post" for k in range(len(stack.blocks)))]
    parts: dict[int, np.ndarray] = {}
    for now, inputs in in_batches(texts, batch):
        shape = (len(now), inputs.shape[1], stack.width)
        keep = partial(_at, positions=kept[now[0]], shape=shape)
        with capture(stack.module, names, places=stack.residual_sites, keep=keep) as tape:
            stack.run(inputs)
        entered, rounds = tape.calls(names[0]), [tape.calls(name) for name in names[1:]]
        if len({len(entered), *map(len, rounds)}) > 1:
            raise CaptureError(f"the blocks of {stack.name} do not run in turn, so they pass no one stream on")
        passed = [entered[0], *(calls[turn] for turn in range(len(entered)) for calls in rounds)]
        states = torch.stack(passed, dim=2).double().cpu().numpy()  # (texts, positions, steps, width)
        parts |= dict(zip(now, states, strict=True))

    states = np.concatenate([parts[index] for index in range(len(texts))])
    runs, steps = states.shape[:2]
    position = np.concatenate(kept)
    whole = not texts[0].is_floating_point()
    token = [text[at].cpu().numpy() if whole else np.full(len(at), -1) for text, at in zip(texts, kept, strict=True)]
    return Trajectory(
        states,
        "layer",
        drives=np.broadcast_to(np.arange(steps - 1.0)[:, None], (runs, steps - 1, 1)),
        labels={
            "text": np.repeat(np.arange(len(texts)), [len(at) for at in kept]),
            "position": position,
            "token": np.concatenate(token),
        },
        source=stack.name,
    )


def as_texts(tokens: Any) -> list[Tensor]:
    """Each text as a tensor: (steps,) of whole numbers, or (steps, features) of vectors.

    Raises
    ------
    InputError
        When there is no text, one is empty, or what came is no array of numbers.
    """
    try:
        texts = [torch.as_tensor(text) for text in tokens]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"texts are arrays of token numbers, (texts, steps) or a list of them: {error}") from None
    vectors = {text.is_floating_point() for text in texts}
    bad = [index for index, text in enumerate(texts) if text.ndim != 1 + text.is_floating_point() or not len(text)]
    if not texts or bad or len(vectors) > 1:
        came = (
            f"text {bad[0]} has shape {tuple(texts[bad[0]].shape)}"
            if bad
            else f"{len(texts)} texts of mixed kinds came"
        )
        raise InputError(f"a text is (steps,) whole numbers or (steps, features) vectors, one step at least; {came}")
    return texts


def in_batches(texts: Sequence[Tensor], batch: int) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of texts of one length, at most ``batch`` of them, and the texts side by side."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        groups[len(text)].append(index)
    for members in groups.values():
        for start in range(0, len(members), batch):
            now = members[start : start + batch]
            yield now, torch.stack([texts[index] for index in now])


def positions_in(length: int, positions: Any) -> np.ndarray:
    """Which of so many steps an index, several, or a slice mean: (kept,) whole numbers from 0.

    Raises
    ------
    InputError
        For an index outside the text.
    """
    if positions is None or isinstance(positions, slice):
        return np.arange(length)[positions or slice(None)]
    chosen = np.atleast_1d(np.asarray(positions))
    if (
        chosen.dtype.kind not in "iu"
        or chosen.ndim != 1
        or not (-length <= chosen.min(initial=0) <= chosen.max(initial=-1) < length)
    ):
        raise InputError(f"positions {positions} do not lie in a text of {length} steps")
    return chosen % length


def _at(values: Tensor, *, positions: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """A copy of the states at these positions."""
    if values.shape != shape:
        raise CaptureError(f"a block gave {tuple(values.shape)} where (texts, steps, width) is {shape}")
    return values.detach()[:, torch.as_tensor(positions, device=values.device)]


def _listed(model: nn.Module, at: str | None) -> tuple[str, ...]:
    """Paths of the blocks in the module at this path, or in the longest list that lies in no other."""
    if at is None:
        lists = {path: len(part) for path, part in model.named_modules() if isinstance(part, nn.ModuleList)}
        outer = {path: size for path, size in lists.items() if not any(path.startswith(f"{other}.") for other in lists)}
        longest = [path for path, size in outer.items() if size == max(outer.values())]
        if len(longest) != 1:
            came = f"several of one length: {', '.join(longest)}" if longest else "no nn.ModuleList"
            raise InputError(f"{type(model).__name__} has {came}; say where its blocks are: blocks='path'")
        at = longest[0]
    elif at not in dict(model.named_modules()):
        raise InputError(f"{type(model).__name__} has no module {at!r} to list the blocks")
    return tuple(f"{at}.{name}" if at else name for name, _ in model.get_submodule(at).named_children())


def _width(model: nn.Module) -> int:
    """What the configuration says, else the first embedding; 0 where neither does."""
    config: Any = getattr(model, "config", None)
    if is_bridge(model):
        return int(model.cfg.d_model)  # type: ignore[union-attr, arg-type]
    if hasattr(config, "get_text_config"):
        return int(getattr(config.get_text_config(), "hidden_size", 0))
    return next((part.embedding_dim for part in model.modules() if isinstance(part, nn.Embedding)), 0)
