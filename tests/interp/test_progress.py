import io
import itertools
import time

import interp.progress
from interp.progress import meter, within_budget


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
