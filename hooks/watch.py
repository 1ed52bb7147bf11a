"""Watch: what a long loop is wrapped in, from outside (progress, budget, saving)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

# (loop states, their expected number) -> the same states; it may show, save, or stop early
Watch = Callable[[Iterable[Any], int], Iterator[Any]]


def quiet(states: Iterable[T], total: int, /) -> Iterator[T]:
    """Watch nothing: the states pass unchanged."""
    return iter(states)
