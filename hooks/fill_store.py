"""Record named sites of a network over many texts into a store on disk: resumable, crash-safe, in shards.

The states of a batch go from the hook straight into the buffer of their chunk, in the dtype of the store; a full chunk is
checked, written and committed by a second thread while the network runs on, two chunks behind at most. Only chunks that are not
there yet are computed, from the same batches as in an uninterrupted run, so that the store is the same bit by bit (on one
machine, with one number of threads) however often the run was killed and into however many shards it was cut.

Costs: the forward passes; memory for five chunks of every site; a batch at the border of two shards is run by both.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hooks._layout import Batch, Layout, as_positions, digest_of
from hooks._zarr import KEPT_AS, SCHEMA, commit, make_empty
from hooks.capture import Place, capture
from hooks.errors import CaptureError, InputError
from hooks.stack import Stack, as_texts, stack_of
from hooks.store import ActivationStore, open_store
from hooks.watch import Watch, quiet

WAITING = 2  # full chunks that may wait for the disk
PACKAGES = ("torch", "transformers", "zarr", "numpy")

Buffers = dict[str, Tensor]  # site -> (rows, unit) of one chunk


@dataclass(frozen=True)
class Committed:
    """One chunk that has just been put into a store."""

    chunk: int
    nbytes: int


def begin_store(
    path: Path | str,
    model: nn.Module | Stack,
    texts: Sequence[Any] | np.ndarray,
    *,
    sites: str | Sequence[str],
    positions: Any = "all",
    dtype: torch.dtype = torch.float32,
    batch_tokens: int = 4096,
    source: str = "",
) -> ActivationStore:
    """The empty store for the states of these texts, or the one that the same call began before; ``fill_store`` fills it.

    Its ``nbytes`` say what it will take. The network runs twice, on single tokens and on the longest text.

    Parameters
    ----------
    path
        A new folder, or a store.
    model
        What ``stack_of`` takes, in eval mode, on its own device; left as it came.
    texts
        Token ids of each.
    sites
        Names of the stack's sites, of every block where they begin with none ("resid_post"), with the wildcards of fnmatch.
    positions
        "all", "last", or positions such as (0, -1); a text that is too short has no state there.
    dtype
        float32, float16 or bfloat16: of what is kept.
    batch_tokens
        Tokens a forward pass at most, one text at least; texts of one length run together.
    source
        Where the model came from, for readers of the store.

    Raises
    ------
    InputError
        For arguments that make no sense, no state at any of the positions, or a store that was begun otherwise.
    CaptureError
        For a site that does not exist, never ran, or gave no (texts, steps, unit).
    """
    stack, rows, kept = stack_of(model), _ids(texts), str(dtype).removeprefix("torch.")
    if kept not in KEPT_AS:
        raise InputError(f"activations are kept as {', '.join(KEPT_AS)}, not {kept}")
    if batch_tokens < 1:
        raise InputError(f"a forward pass takes one token at least, not {batch_tokens}")
    layout = Layout(np.array([len(row) for row in rows]), as_positions(positions), batch_tokens)
    if not layout.states:
        wanted = ", ".join(map(str, layout.positions))
        raise InputError(f"none of the {len(rows)} texts, {layout.lengths.max()} tokens at most, has position {wanted}")
    widths = _widths(stack, _places(stack, sites), rows)
    layout = layout.chunked(max(widths.values()) * np.dtype(KEPT_AS[kept]).itemsize)
    settings: dict[str, Any] = {
        "schema": SCHEMA,
        "model": fingerprint(stack.module),
        "texts": digest_of(rows),
        "sites": widths,
        "positions": layout.positions,
        "dtype": kept,
        "batch_tokens": batch_tokens,
        "rows": layout.rows,
    }
    path = Path(path)
    if not path.exists():
        tokens = np.concatenate([_tokens(rows, batch)[:, batch.positions].ravel() for batch in layout.batches])
        made_with = {name: version(name) for name in PACKAGES}
        make_empty(path, layout, tokens, {"settings": settings, "source": source, "made_with": made_with})
    store = open_store(path)
    other = [name for name, value in settings.items() if store.settings.get(name) != json.loads(json.dumps(value))]
    if other:
        differ = "; ".join(f"{name} {_brief(store.settings.get(name))}, not {_brief(settings[name])}" for name in other)
        raise InputError(f"{path} was captured otherwise and cannot be continued: it has {differ}")
    return store


def fill_store(
    store: ActivationStore,
    model: nn.Module | Stack,
    texts: Sequence[Any] | np.ndarray,
    *,
    shard: tuple[int, int] = (0, 1),
    watch: Watch = quiet,
) -> ActivationStore:
    """Compute and commit every chunk of the store that is not there yet.

    Parameters
    ----------
    store, model, texts
        As given to ``begin_store``.
    shard
        (i, N): the i-th of N equal parts, counted from 0. All may run at once, in any processes that see the folder.
    watch
        What the loop over chunks is wrapped in. Stopped early, or interrupted, it leaves a good store.

    Returns
    -------
    ActivationStore
        The store; whole unless other shards are missing or the loop was stopped.

    Raises
    ------
    InputError
        For another model or other texts than the store was begun with, a shard that does not exist, or a disk with fewer bytes
        free than are missing.
    CaptureError
        When a state is not finite, or too large for the dtype of the store; chunks before it are committed.
    """
    stack, rows = stack_of(model), _ids(texts)
    for name, given in (("model", fingerprint(stack.module)), ("texts", digest_of(rows))):
        if store.settings[name] != given:
            raise InputError(f"{store.path} was begun with other {name}: {store.settings[name]}, not {given}")
    if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise InputError(f"a shard is (i, N) with i from 0 to N - 1, not {shard}")
    there = store.committed
    missing = [chunk for chunk in store.layout.shard(*shard) if not there[chunk]]
    needed, free = len(missing) * store.bytes_a_chunk, shutil.disk_usage(store.path).free
    if needed > free:
        raise InputError(f"{store.path} needs {needed:,} bytes more, but its disk has {free:,} free")

    for _ in watch(_filled(store, stack, rows, missing), len(missing)):
        pass
    return store


def fingerprint(model: nn.Module) -> str:
    """Digest of every weight and buffer in the state dict, bit by bit, with its name."""
    sha = hashlib.sha256(type(model).__name__.encode())
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def _filled(store: ActivationStore, stack: Stack, rows: list[np.ndarray], missing: list[int]) -> Iterator[Committed]:
    """Commits the missing chunks in order; the network and the disk work at the same time."""
    layout, places, wanted = store.layout, _places(stack, store.sites), set(missing)
    started: dict[int, Buffers] = {}
    waiting: deque[Future[Committed]] = deque()
    with ThreadPoolExecutor(1) as writer:  # its end waits for chunks that are full, also after an interruption
        for batch in layout.batches:
            chunks = [c for c in range(batch.first // layout.rows, -(-batch.last // layout.rows)) if c in wanted]
            if not chunks:
                continue
            started |= {chunk: _buffers(store, chunk) for chunk in chunks if chunk not in started}
            _run(stack, places, _tokens(rows, batch), partial(_placed, store, batch, started))
            for chunk in [c for c in chunks if layout.chunk(c)[1] <= batch.last]:
                waiting.append(writer.submit(_written, store, chunk, started.pop(chunk)))
            while len(waiting) > WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _run(stack: Stack, places: Mapping[str, Place], tokens: Tensor, take: Callable[[str, Tensor], None]) -> None:
    """One forward pass; ``take`` is given what each site holds as it is made, and nothing of it is kept here."""

    def passed(site: str, values: Tensor) -> Tensor:
        take(site, values)
        return values.new_empty(0)

    with ExitStack() as opened:
        tapes = {
            site: opened.enter_context(capture(stack.module, [site], places=places, keep=partial(passed, site)))
            for site in places
        }
        stack.run(tokens)
    for site, tape in tapes.items():
        if len(tape.calls(site)) > 1:
            raise CaptureError(f"{site} ran {len(tape.calls(site))} times in one pass; what a store holds runs once")


def _placed(store: ActivationStore, batch: Batch, started: Mapping[int, Buffers], site: str, values: Tensor) -> None:
    """Copies the kept states of one site into the chunks they belong to."""
    texts, steps, width = len(batch.texts), int(store.layout.lengths[batch.texts[0]]), store.settings["sites"][site]
    if values.shape != (texts, steps, width):
        raise CaptureError(f"{site} gave {tuple(values.shape)} where (texts, steps, unit) is {(texts, steps, width)}")
    all_of_them = len(batch.positions) == steps
    states = values if all_of_them else values[:, torch.as_tensor(batch.positions, device=values.device)]
    states = states.reshape(-1, width)
    for chunk, buffers in started.items():
        first, last = store.layout.chunk(chunk)
        begin, end = max(first, batch.first), min(last, batch.last)
        if begin < end:
            buffers[site][begin - first : end - first].copy_(states[begin - batch.first : end - batch.first])


def _written(store: ActivationStore, chunk: int, buffers: Buffers) -> Committed:
    """Commits a full chunk, if all of it is finite."""
    for site, states in buffers.items():
        if not torch.isfinite(torch.stack(states.aminmax())).all():  # NaN passes through; a tenth of asking each number
            finite = torch.isfinite(states).all(dim=1)
            row = store.layout.chunk(chunk)[0] + int(finite.int().argmin())
            text, position = (int(values[row]) for values in store.layout.labels())
            raise CaptureError(
                f"the state of text {text} at position {position} is not finite at {site} in {store.dtype}, which holds up to "
                f"{torch.finfo(states.dtype).max:.3g}: capture in float32 or bfloat16, or leave this text out"
            )
    raw = {site: states.view(torch.uint16) if store.dtype == "bfloat16" else states for site, states in buffers.items()}
    commit(store.path, store.layout, chunk, {site: states.numpy() for site, states in raw.items()})
    return Committed(chunk, sum(states.nbytes for states in raw.values()))


def _buffers(store: ActivationStore, chunk: int) -> Buffers:
    first, last = store.layout.chunk(chunk)
    kind = getattr(torch, store.dtype)
    return {site: torch.empty(last - first, width, dtype=kind) for site, width in store.settings["sites"].items()}


def _places(stack: Stack, names: str | Sequence[str]) -> dict[str, Place]:
    """Site -> where it is, in the order of the stack; the sides of blocks are known without TransformerLens."""
    asked = [names] if isinstance(names, str) else list(names)
    sides = all(name.endswith(("resid_pre", "resid_post")) for name in asked)
    known = stack.residual_sites if sides else stack.sites
    found: set[str] = set()
    for name in asked:
        matched = {site for site in known if fnmatch.fnmatchcase(site, name) or fnmatch.fnmatchcase(site, f"*.{name}")}
        if not matched:
            kinds = dict.fromkeys(site.rsplit(".", 1)[1] for site in known)
            raise CaptureError(
                f"{stack.name} has no site {name!r}; its sites are blocks.k. and one of {', '.join(kinds)}"
            )
        found |= matched
    return {site: place for site, place in known.items() if site in found}


def _widths(stack: Stack, places: Mapping[str, Place], rows: Sequence[np.ndarray]) -> dict[str, int]:
    """Units of each site, from a pass over two texts of one token, the smallest and the largest id that will come; the longest
    text is tried too, since it comes last."""
    low, high = min(int(row.min()) for row in rows), max(int(row.max()) for row in rows)
    longest = max(rows, key=len)
    shapes: dict[str, tuple[int, ...]] = {}
    refused = f"token ids from {low} to {high}"
    try:
        _run(stack, places, torch.tensor([[low], [high]]), lambda site, values: shapes.update({site: (*values.shape,)}))
        refused = f"{len(longest)} tokens, the longest of the texts"
        stack.run(torch.from_numpy(longest)[None])
    except (IndexError, RuntimeError) as error:
        raise InputError(f"{stack.name} does not take {refused}: {str(error).splitlines()[0][:120]}") from None
    for site, shape in shapes.items():
        if len(shape) != 3 or shape[:2] != (2, 1):
            raise CaptureError(f"{site} gave {shape} for two texts of one token: a store holds (texts, steps, unit)")
    return {site: shapes[site][2] for site in places}


def _ids(texts: Sequence[Any] | np.ndarray) -> list[np.ndarray]:
    """Token ids of each text, int64."""
    rows = as_texts(texts)
    if rows[0].is_floating_point():
        raise InputError("a store holds the states of texts of token ids, but vectors came")
    return [row.cpu().numpy().astype(np.int64) for row in rows]


def _tokens(rows: Sequence[np.ndarray], batch: Batch) -> Tensor:
    return torch.from_numpy(np.stack([rows[text] for text in batch.texts]))


def _brief(setting: Any) -> str:
    """In one line: of sites, their names."""
    if not isinstance(setting, Mapping):
        return repr(setting)
    names = list(setting)
    return ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
