"""What every analysis returns: a frozen Result with its numbers, how the run ended, its checks and its nulls."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 1
AnyResult = TypeVar("AnyResult", bound="Result")


class Outcome(Enum):
    """How a run, or one start of it, ended; the value is the sentence shown to the reader."""

    CONVERGED = "reached the tolerance"
    STUCK = "came to rest where the speed falls no further, off every fixed point"
    OUT_OF_STEPS = "ran out of steps"
    OUT_OF_TIME = "ran out of time"
    DIVERGED = "left every bound"
    INCONSISTENT = "gave two answers to one question"
    TOO_SHORT = "had too little data"
    NO_SCALING = "had no range of scaling"
    DEGENERATE = "collapsed onto too few points"


@dataclass(frozen=True)
class Check:
    """An identity the numbers must satisfy. A value that is not finite fails."""

    name: str
    expected: float
    got: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return abs(self.got - self.expected) <= self.tolerance


@dataclass(frozen=True, eq=False)
class Null:
    """One null model's answer to the same question.

    Parameters
    ----------
    name, hypothesis
        "random walk"; "increments are independent".
    unit
        The unit of replication: network, text, token, unit.
    draws : (draws,)
        The statistic under the null.
    observed
        The statistic itself.
    statistic
        Which of the result's numbers is asked. A number has to beat all nulls of its name; one without a name is asked alone.
    """

    name: str
    hypothesis: str
    unit: str
    draws: Float[np.ndarray, " draws"]
    observed: float
    statistic: str = ""

    @property
    def p(self) -> float:
        """Two-sided p = (1 + k) / (1 + n), k draws at least as far from the null's median as the observed value."""
        center = np.median(self.draws)
        return float((1 + (np.abs(self.draws - center) >= abs(self.observed - center)).sum()) / (1 + len(self.draws)))

    @property
    def beaten(self) -> bool:
        return self.p <= 0.05


class Result(ABC):
    """Base of every result; a subclass is a frozen dataclass (``eq=False``) with a field ``checks``."""

    checks: tuple[Check, ...]

    @abstractmethod
    def summary(self) -> str:
        """One sentence with numbers, the success count first."""

    @abstractmethod
    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw on the axes and return them; shows nothing, saves nothing."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: arrays as {dtype, shape, values}, complex as [re, im], NaN as null, infinities as strings."""
        return {"schema": SCHEMA, "result": type(self).__name__, **_encoded_fields(self)}

    @classmethod
    def from_dict(cls: type[AnyResult], written: Mapping[str, Any]) -> AnyResult:
        """The result that ``to_dict`` wrote."""
        if written.get("schema") != SCHEMA or written.get("result") != cls.__name__:
            came = f"{written.get('result')} of schema {written.get('schema')}"
            raise ValueError(f"this reads {cls.__name__} of schema {SCHEMA}, but {came} came")
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: _decoded(written[name]) for name in names})


def counted(number: int, noun: str) -> str:
    """ "1 cycle", "2 cycles"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(5, 4), layout="constrained").add_subplot()


def _encoded_fields(value: Any) -> dict[str, Any]:
    return {field.name: _encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _encoded(value: Any) -> Any:
    match value:
        case np.ndarray():
            return {"dtype": value.dtype.name, "shape": list(value.shape), "values": _encoded(value.tolist())}
        case Outcome():
            return {"outcome": value.name}
        case Check() | Null():
            return {"is": type(value).__name__, **_encoded_fields(value)}
        case np.generic():
            return _encoded(value.item())
        case complex():
            return [_encoded(value.real), _encoded(value.imag)]
        case float() if math.isnan(value):
            return None
        case float() if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        case list():
            return [_encoded(entry) for entry in value]
        case tuple():
            return {"tuple": [_encoded(entry) for entry in value]}
        case Mapping():
            return {"mapping": {str(key): _encoded(entry) for key, entry in value.items()}}
        case bool() | int() | float() | str() | None:
            return value
    raise TypeError(f"a result holds arrays, numbers, strings, tuples and mappings, not {type(value).__name__}")


def _decoded(value: Any) -> Any:
    match value:
        case {"dtype": str(dtype), "shape": shape, "values": values}:
            flat = np.array(values, dtype=object).reshape(-1)
            if dtype.startswith("complex"):
                pairs = np.array([_number(entry) for entry in flat], dtype=np.float64).reshape(-1, 2)
                return (pairs[:, 0] + 1j * pairs[:, 1]).astype(dtype).reshape(shape)
            if dtype.startswith("float"):
                return np.array([_number(entry) for entry in flat], dtype=dtype).reshape(shape)
            return np.array(values, dtype=dtype).reshape(shape)
        case {"outcome": name}:
            return Outcome[name]
        case {"is": "Check" | "Null" as kind, **fields}:
            restored = {str(name): _decoded(entry) for name, entry in fields.items()}
            return Check(**restored) if kind == "Check" else Null(**restored)
        case {"tuple": entries}:
            return tuple(_decoded(entry) for entry in entries)
        case {"mapping": entries}:
            return {key: _decoded(entry) for key, entry in entries.items()}
    return _number(value)


def _number(value: Any) -> Any:
    """null is NaN; "inf" and "-inf" are infinities; anything else is itself."""
    return (
        math.nan
        if value is None
        else {"inf": math.inf, "-inf": -math.inf}.get(value, value)
        if isinstance(value, str)
        else value
    )
