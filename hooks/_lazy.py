"""A Zarr array as an xarray.DataArray that is read where it is indexed, bfloat16 widened on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from xarray import DataArray, Variable
from xarray.backends import BackendArray
from xarray.core import indexing

from hooks.store import widened


class _Site(BackendArray):
    def __init__(self, array: Any, dtype: str) -> None:
        self.array, self.kept = array, dtype
        self.shape, self.dtype = array.shape, np.dtype("float32" if dtype == "bfloat16" else dtype)

    def __getitem__(self, key: Any) -> Any:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._raw)

    def _raw(self, key: tuple[Any, ...]) -> np.ndarray:
        return widened(np.asarray(self.array.oindex[key]), self.kept)


def lazy(array: Any, dtype: str, *, name: str, coords: Mapping[str, Any]) -> DataArray:
    """(state, unit), nothing of it read yet."""
    values = indexing.LazilyIndexedArray(_Site(array, dtype))
    return DataArray(Variable(("state", "unit"), values), name=name, coords=coords)
