"""Training checkpoints of a hub model, one after another, two on disk at most.

While one is in use the next is downloaded; when the caller asks for the next, the one before is deleted first. A folder
remembers which are finished and keeps what is downloaded, also in part: the same call after a kill goes on where it was.

A hub is anything with the two functions of huggingface_hub that are used: ``list_repo_refs(repo)``, whose answer has branches
and tags with names, and ``snapshot_download(repo, revision=, local_dir=, allow_patterns=)``.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hooks.errors import InputError, LoadError

SMALL = ["*.json", "*.txt", "*.model", "*.tiktoken"]  # configuration and tokenizer
SAFE, PICKLED = "*.safetensors", "*.bin"  # weights; the second where a revision has none of the first
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Checkpoint:
    """One state of a model in training, as a folder that ``interp.load`` reads.

    Attributes
    ----------
    repo, revision
        Its name on the hub.
    folder
        Where it lies until the next one is asked for.
    """

    repo: str
    revision: str
    folder: Path


def checkpoints(
    repo: str, revisions: str, folder: Path | str, *, seeds: str | Sequence[int] = (), hub: Any = None
) -> Iterator[Checkpoint]:
    """Every revision of a model, of every seed in turn, each on disk while it is in use.

    Parameters
    ----------
    repo
        Hub id; with ``{seed}`` in it where there are seeds ("EleutherAI/pythia-14m-seed{seed}").
    revisions
        "step0..step4000", both ends included, in the order of the numbers in the names; or one name.
    folder
        Downloads go there, and the list of what is finished. A checkpoint is finished when the next is asked for; finished ones
        are not given again.
    seeds
        Numbers, or "1..9".
    hub
        huggingface_hub when left out.

    Raises
    ------
    InputError
        For a span that is none, an end that no revision is called, or seeds that the id does not take.
    LoadError
        When the hub does not answer, or a revision holds no weights; in one line, at once.
    """
    repos = repos_of(repo, seeds)
    hub = importlib.import_module("huggingface_hub") if hub is None else hub
    listed = [(name, revision) for name in repos for revision in revisions_between(name, revisions, hub=hub)]
    return _in_turn(listed, Path(folder), hub)


def repos_of(repo: str, seeds: str | Sequence[int]) -> list[str]:
    """The id of every seed, or the one id without seeds; InputError as ``checkpoints``."""
    numbers = _numbers(seeds)
    if bool(numbers) != ("{seed}" in repo):
        came = f"{len(numbers)} seeds" if numbers else "no seeds"
        raise InputError(f"an id takes seeds where it says {{seed}}, but {repo!r} came with {came}")
    return [repo.replace("{seed}", str(seed)) for seed in numbers] or [repo]


def revisions_between(repo: str, span: str, *, hub: Any = None) -> tuple[str, ...]:
    """The revisions of a model from a to b, "a..b", both included, in the order of the numbers in their names.

    Those whose names are a's but for the numbers ("step1000-tokens4B" is a "step#-tokens#B"); without "..", that one alone.

    Raises
    ------
    InputError, LoadError
        As ``checkpoints``.
    """
    hub = importlib.import_module("huggingface_hub") if hub is None else hub
    first, dots, last = span.partition("..")
    ends = [first, last] if dots else [first]
    if not all(ends):
        raise InputError(f"revisions are given as a..b or one name, not {span!r}")
    refs = _asked(repo, partial(hub.list_repo_refs, repo))
    known = sorted({ref.name for ref in (*refs.branches, *refs.tags)})
    for end in ends:
        if end not in known:
            near = difflib.get_close_matches(end, known, 4, 0.0)
            raise InputError(f"{repo} has no revision {end!r}; near it are {', '.join(near) or 'none'}")
    if not dots:
        return (first,)
    if NUMBER.sub("#", first) != NUMBER.sub("#", last) or _order(first) > _order(last):
        raise InputError(f"revisions run from a smaller to a larger number of one name, unlike {span!r}")
    like = [name for name in known if NUMBER.sub("#", name) == NUMBER.sub("#", first)]
    return in_order(name for name in like if _order(first) <= _order(name) <= _order(last))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Revisions by the numbers in their names."""
    return tuple(sorted(names, key=_order))


def _in_turn(listed: Sequence[tuple[str, str]], folder: Path, hub: Any) -> Iterator[Checkpoint]:
    folder.mkdir(parents=True, exist_ok=True)
    finished = {tuple(pair) for pair in _finished(folder)}
    wanted = [pair for pair in listed if pair not in finished]
    for pair in set(listed) - set(wanted[:2]):  # what a killed run left; nothing else in the folder is touched
        place = _place(folder, *pair)
        for left in (place, _part(place)):
            shutil.rmtree(left, ignore_errors=True)
    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(_downloaded, folder, *pair, hub) for pair in wanted[:1]]
        for number, now in enumerate(wanted):
            path = coming.pop().result()
            coming = [ahead.submit(_downloaded, folder, *pair, hub) for pair in wanted[number + 1 : number + 2]]
            yield Checkpoint(*now, path)
            shutil.rmtree(path)
            finished.add(now)
            _write(folder / "finished.json", sorted(finished))


def _downloaded(folder: Path, repo: str, revision: str, hub: Any) -> Path:
    """The whole checkpoint, under its name only once it is whole."""
    path = _place(folder, repo, revision)
    if path.exists():
        return path
    part = _part(path)
    for weights in (SAFE, PICKLED):
        wanted = {"revision": revision, "local_dir": part, "allow_patterns": [*SMALL, weights]}
        _asked(repo, partial(hub.snapshot_download, repo, **wanted))
        if any(part.rglob(weights)):
            part.rename(path)
            return path
    raise LoadError(f"revision {revision!r} of {repo} holds no weights ({SAFE} or {PICKLED})")


def _asked(repo: str, question: Any) -> Any:
    """What the hub answers, or one line of why it does not."""
    try:
        return question()
    except Exception as error:  # of many libraries: the hub's own, its transport's, the operating system's
        said = " ".join(str(error).split())[:200]
        raise LoadError(f"the hub does not give {repo}: {type(error).__name__}: {said}") from None


def _place(folder: Path, repo: str, revision: str) -> Path:
    """A folder of its own for each, whose name people can read."""
    name = re.sub(r"[^\w.-]+", "--", f"{repo}@{revision}")
    return folder / f"{name}-{hashlib.sha256(f'{repo}@{revision}'.encode()).hexdigest()[:8]}"


def _part(path: Path) -> Path:
    """What it is called until it is whole."""
    return path.with_name(f"{path.name}.part")


def _finished(folder: Path) -> list[list[str]]:
    path = folder / "finished.json"
    return json.loads(path.read_text()) if path.exists() else []


def _write(path: Path, value: Any) -> None:
    part = _part(path)
    part.write_text(json.dumps(value))
    part.replace(path)


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in NUMBER.findall(name))


def _numbers(seeds: str | Sequence[int]) -> list[int]:
    if not isinstance(seeds, str):
        return [int(seed) for seed in seeds]
    first, dots, last = seeds.partition("..")
    if not (first.isdecimal() and (last.isdecimal() if dots else not last)) or int(first) > int(last or first):
        raise InputError(f"seeds are given as a..b or one number, not {seeds!r}")
    return list(range(int(first), int(last or first) + 1))
