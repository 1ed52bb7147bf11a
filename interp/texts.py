"""Token ids from a file of texts: one text a line, JSON lines, or ids as .npy. Content decides, never the extension."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hooks.errors import InputError, LoadError
from hooks.pretrained import tokenizer
from interp.arrays import npy

NUMPY = b"\x93NUMPY"


def tokens_of(file: Path | str, source: Path | str, *, longest: int | None = None) -> list[np.ndarray]:
    """Token ids of every text in a file, each (steps,) int64.

    Parameters
    ----------
    file
        Text, one a line, blank lines left out; or lines of JSON objects with "text", or "tokens" (ids); or an integer .npy of
        shape (texts, steps) or (steps,).
    source
        Folder or hub id whose tokenizer reads the texts, with the special tokens that it adds by itself; not looked at for ids.
    longest
        Tokens after so many are cut off.

    Raises
    ------
    InputError
        When the file is missing, holds no text, or a line is none, by its number; when texts came and there is no tokenizer.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    if longest is not None and longest < 1:
        raise InputError(f"a text keeps one token at least, not {longest}")
    with file.open("rb") as opened:
        head = opened.read(len(NUMPY))
    texts = _array(file) if head == NUMPY else _lines(file)
    if not texts:
        raise InputError(f"{file} holds no text")
    if any(isinstance(text, str) for text in texts):
        read = _tokenizer(source)
        texts = [read(text)["input_ids"] if isinstance(text, str) else text for text in texts]
    rows = [np.asarray(text, dtype=np.int64)[:longest] for text in texts]
    empty = next((number for number, row in enumerate(rows, 1) if not len(row)), None)
    if empty is not None:
        raise InputError(f"text {empty} of {file} has no tokens")
    return rows


def _lines(file: Path) -> list[Any]:
    """Strings, and lists of ids."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8 (byte {error.start}) and no .npy") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered or not numbered[0][1].lstrip().startswith("{"):
        return [line for _, line in numbered]
    return [_of_object(line, f"line {number} of {file}") for number, line in numbered]


def _of_object(line: str, place: str) -> Any:
    try:
        said = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is no JSON: {error}") from None
    text = said.get("text", said.get("tokens")) if isinstance(said, dict) else None
    if isinstance(text, str) or (isinstance(text, list) and all(type(token) is int for token in text)):
        return text
    raise InputError(f'{place} is no object with "text", or with "tokens" that are whole numbers')


def _array(file: Path) -> Sequence[np.ndarray]:
    ids = npy(file)
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
        raise InputError(
            f"token ids are whole numbers (texts, steps) or (steps,), but {file} has {ids.dtype} {ids.shape}"
        )
    return list(np.atleast_2d(ids))


def _tokenizer(source: Path | str) -> Any:
    """The tokenizer beside a model."""
    try:
        return tokenizer(source)
    except LoadError as error:
        raise InputError(
            f"no tokenizer came with {source}, so texts cannot be read: give token ids, as .npy or as lines of "
            f'{{"tokens": [...]}} ({error})'
        ) from None
