"""One paper, or one question, per file; the folder is the registry: ``names()`` lists it, ``load(name)`` opens one."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from case_studies._study import CaseStudy


def names() -> tuple[str, ...]:
    """The studies: files of this folder whose names do not start with an underscore."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def load(name: str) -> CaseStudy[Any]:
    """The study of this name. Raises InputError with the list of names for another."""
    from hooks.errors import InputError

    if name not in names():
        raise InputError(f"no case study {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"case_studies.{name}").study
