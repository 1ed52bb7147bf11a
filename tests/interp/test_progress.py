import io
import itertools
import json
import math
import time
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file

import interp.progress
from analyses.maps._roots import Sweep
from analyses.maps.fixed_points import find_fixed_points
from hooks.errors import InputError
from interp.progress import last_saved, meter, saved_every, within_budget
from tests.known import rolled_tanh


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_shown_when_it_is_not_a_terminal(monkeypatch):
    monkeypatch.setattr(interp.progress, "PATIENCE", -1.0)
    out = io.StringIO()
    assert list(meter("search", stream=out)(range(3), 3)) == [0, 1, 2]
    assert out.getvalue() == ""


def test_a_long_loop_says_its_title_place_and_time_left_and_cleans_up(monkeypatch):
    clock = itertools.count(0.0, 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out = Terminal()
    assert list(meter("search", stream=out)(range(5), 10)) == [0, 1, 2, 3, 4]
    # the clock ticks once a state: at the third, 3 s have passed and 7 of 10 are left
    assert "search: 3 of 10, 7 s left at most" in out.getvalue()
    assert "search: 2 of" not in out.getvalue()  # within the first two seconds nothing is shown
    assert out.getvalue().endswith("\r\x1b[2K")


def test_a_short_loop_shows_nothing():
    out = Terminal()
    assert list(meter("search", stream=out)(range(100), 100)) == list(range(100))
    assert out.getvalue() == ""


def test_budget_ends_the_loop_after_the_state_at_which_it_is_spent(monkeypatch):
    clock = itertools.count(0.0, 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(within_budget(2.5)(range(100), 100)) == [0, 1, 2]
    assert list(within_budget(5.0)([], 0)) == []


def states(count):
    """Of a search; each differs from the others in every field."""
    return [Sweep(*(torch.arange(3.0) + 10 * i + number for number in range(5))) for i in range(count)]


def assert_same(state, other):
    assert type(state) is type(other)
    for name, value in vars(state).items():
        assert torch.equal(value, getattr(other, name)), name


def test_a_state_is_saved_when_it_is_time_and_when_the_loop_ends(tmp_path, monkeypatch):
    path, clock = tmp_path / "state", itertools.count(0.0, 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    loop = saved_every(2.5, path)(given := states(6), 6)
    present = [path.exists() for _ in loop]
    # looked at 1, 2, 3 (saved; the clock is read again), 5, 6, 7 (saved)
    assert present == [False, False, True, True, True, True]
    assert_same(last_saved(path), given[5])
    assert [part.name for part in tmp_path.iterdir()] == ["state"]  # nothing half-written is left


def test_a_loop_that_is_left_or_fails_is_saved_where_it_was(tmp_path):
    path, given = tmp_path / "state", states(5)
    loop = saved_every(1e9, path)(iter(given), 5)
    next(loop), next(loop)
    assert not path.exists()
    loop.close()
    assert_same(last_saved(path), given[1])

    def fails():
        yield from given[2:4]
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        list(saved_every(1e9, path)(fails(), 5))
    assert_same(last_saved(path), given[3])


def test_other_loops_are_saved_too_and_watches_nest(tmp_path):
    path, out = tmp_path / "state", Terminal()

    def watch(loop, total):
        return meter("search", stream=out)(saved_every(0.0, path)(within_budget(60.0)(loop, total), total), total)

    found = find_fixed_points(rolled_tanh(2), 8, rounds=0, watch=watch)
    assert len(found.points) == 3 and isinstance(last_saved(path), Sweep)


@dataclass(frozen=True)
class Elsewhere:
    number: float
    tensor: torch.Tensor


def test_only_states_of_analyses_are_read_and_only_tensors_and_plain_values_written(tmp_path):
    path = tmp_path / "state"
    assert last_saved(path) is None
    list(saved_every(0.0, path)([Elsewhere(math.inf, torch.ones(2))], 1))
    with pytest.raises(InputError, match="no saved state of an analysis: its metadata names 'tests"):
        last_saved(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(InputError, match="its metadata names None"):
        last_saved(path)
    save_file({"states": torch.ones(1)}, path, {"state": "analyses.maps._roots.Sweep", "values": json.dumps({"b": 1})})
    with pytest.raises(InputError, match="holds b, states, which is not what"):
        last_saved(path)
    save_file({"states": torch.ones(1)}, path, {"state": "analyses.maps.forgotten.Sweep"})
    with pytest.raises(InputError, match=r"a state of analyses\.maps\.forgotten, which this version has not"):
        last_saved(path)
    path.write_bytes(b"nonsense, and more of it")
    with pytest.raises(InputError, match="is no saved state"):
        last_saved(path)
    with pytest.raises(InputError, match="the loop gives int"):
        list(saved_every(0.0, path)([1], 1))
    with pytest.raises(InputError, match="number is of type list"):
        list(saved_every(0.0, path)([Elsewhere([1.0], torch.ones(2))], 1))
