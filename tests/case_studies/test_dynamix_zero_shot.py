"""The reader of model files on bytes written here by hand, and the order in which their arrays mean something."""

import struct

import numpy as np
import pytest

import case_studies
from case_studies.dynamix_zero_shot import PLACE, _released, bson_arrays
from hooks.errors import InputError, LoadError


def element(kind, name, payload):
    return bytes([kind]) + name.encode() + b"\0" + payload


def document(*elements):
    body = b"".join(elements) + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def text(name, value):
    return element(2, name, struct.pack("<i", len(value) + 1) + value.encode() + b"\0")


def array(name, values):
    """As BSON.jl writes one: its bytes column-major."""
    values = np.asarray(values, dtype="<f4")
    sizes = document(*(element(18, str(k), struct.pack("<q", size)) for k, size in enumerate(values.shape)))
    data = values.tobytes(order="F")
    binary = element(5, "data", struct.pack("<i", len(data)) + b"\0" + data)
    return element(3, name, document(text("tag", "array"), element(4, "size", sizes), binary))


def test_arrays_come_in_order_whatever_lies_between_them():
    first, second = np.arange(6.0).reshape(2, 3), np.array([0.5])
    others = (
        element(1, "x", struct.pack("<d", 2.0)), element(8, "y", b"\1"), element(10, "n", b""), text("tag", "struct"),
        element(16, "i", struct.pack("<i", 3)),
    )  # fmt: skip
    written = document(array("a", first), *others, element(3, "deep", document(array("b", second))))
    found = list(bson_arrays(written))
    assert [part.tolist() for part in found] == [first.tolist(), second.tolist()]


@pytest.mark.parametrize("broken", [b"", b"\5\0\0\0", b"\xff\0\0\0\0", document(element(7, "id", b"\0" * 12))])
def test_a_broken_file_or_another_element_is_refused(broken):
    with pytest.raises(LoadError, match="no BSON file"):
        list(bson_arrays(broken))


def test_the_convolution_is_unflipped_and_the_readout_is_no_parameter():
    """Flux: encoded_t = c_(t+1) K_0 + c_t K_1, with c a row."""
    rng = np.random.default_rng(0)
    shapes = [(6,), (6,), (6, 6), (6, 6), (6,), (6,)]  # two experts: A, W, h
    shapes += [(2, 3, 3), (3,), (1,), (3, 6), (2, 9), (2, 2), (1,), (3,), (3, 6), (3,), (3, 3)]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    weights, L, parameters = _released(arrays)
    now, later = rng.standard_normal((2, 3))
    ours = weights["kernel"][0] @ now + weights["kernel"][1] @ later
    assert np.allclose(ours, later @ arrays[6][0] + now @ arrays[6][1], rtol=1e-14)
    assert weights["W"].shape == (2, 6, 6) and np.array_equal(L, arrays[-1])
    assert parameters == sum(part.size for part in arrays) - 18 - 3


def test_without_the_release_it_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv(PLACE, str(tmp_path))
    with pytest.raises(InputError, match=f"set {PLACE} to a checkout"):
        case_studies.load("dynamix_zero_shot").run("quick", tmp_path / "out")
