import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.stability import classify
from analyses.result import SCHEMA
from analyses.trajectories.stream_geometry import stream_geometry
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from interp.claims import Row
from interp.journal import Journal
from interp.page import LARGE, Report, read
from tests.analyses.test_result import assert_same
from tests.known import linear, rolled_tanh


def findings(dynamics=None):
    dynamics = rolled_tanh(4) if dynamics is None else dynamics
    journal = Journal()
    points = journal.note("fixed points", find_fixed_points, dynamics, 128, around=(-1.0, 1.0))
    journal.note("stability", classify, points)
    journal.note("cycles", find_cycles, dynamics, np.zeros((1, dynamics.dim)), periods=(2,))
    journal.note("exponents", lyapunov_spectrum, dynamics, np.zeros((1, dynamics.dim)), steps=8)
    return journal.findings


ROW = Row("fixed points", 9, "closed form", 9, 0, "a count")


class Page(HTMLParser):
    """What a reader of the page sees, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.alts, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.alts += [value for name, value in attrs if name == "alt"]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_no_network_and_no_scripting(tmp_path):
    report = Report("nine <rests>", findings(), (ROW,), ("It rests & waits.",)).written(tmp_path)
    text = report.path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert not re.search(r"@import|url\(\s*['\"]?http", text)
    assert all(page.alts) and page.tags.count("img") == len(page.alts) >= 3
    words = " ".join(page.text)
    assert "nine <rests>" in words and "It rests & waits." in words and "closed form" in words
    assert len(text.encode()) < 2_000_000


def test_what_is_written_is_read_back_and_drawn_again_alike(tmp_path):
    report = Report("rests", findings(), (ROW,), ("One.",), {"seed": "0"}).written(tmp_path / "a")
    again = read(tmp_path / "a")
    assert again.rows == report.rows and again.sentences == report.sentences and again.provenance["seed"] == "0"
    for one, other in zip(report.findings, again.findings, strict=True):
        assert (one.title, one.call, one.seconds) == (other.title, other.call, other.seconds)
        for name, value in vars(one.result).items():
            assert_same(value, getattr(other.result, name), name)
    rewritten = again.written(tmp_path / "b")
    pages = [
        re.sub(r"\d{4}-\d\d-\d\dT[^<\s]*", "", one.path.read_text(encoding="utf-8")) for one in (report, rewritten)
    ]
    assert pages[0] == pages[1]


def test_large_arrays_leave_the_json_and_come_back(tmp_path):
    trajectory = rollout(linear(np.eye(3) * 0.99), np.ones((20, 3)), steps=400)
    journal = Journal()
    shape = journal.note("portrait", stream_geometry, trajectory)
    assert shape.portrait.size > LARGE
    report = Report("long", journal.findings).written(tmp_path)
    assert (tmp_path / "numbers.json").stat().st_size < 100_000
    again = read(tmp_path).findings[0].result
    np.testing.assert_array_equal(again.portrait, shape.portrait)
    assert report.path.stat().st_size < 2_000_000


def test_nothing_found_is_a_page_too(tmp_path):
    drift = Dynamics(lambda x, _: x + 1, dim=1, name="drift")
    text = Report("drift", findings(drift)).written(tmp_path).path.read_text(encoding="utf-8")
    assert "0 of 128 starts converged onto 0 fixed points" in re.sub(
        r", \d+ [a-z ,]+onto", " converged onto", text
    ) or ("0 of 128 starts converged" in text)
    empty = Report("empty", ()).written(tmp_path / "empty")
    assert "0 identity checks" in empty.path.read_text(encoding="utf-8") and empty.failed == ()


def test_failures_stand_at_the_head_of_the_page(tmp_path):
    row = Row("fixed points", 27, "table 1", 26, 0, "a count")
    report = Report("short", findings(), (ROW, row)).written(tmp_path)
    assert report.failed == ("fixed points: 26, the claim is 27",)
    text = report.path.read_text(encoding="utf-8")
    assert text.index("fixed points: 26, the claim is 27") < text.index("<h2>")
    assert text.index("table 1") < text.index("closed form")  # claims that differ come first


def test_numbers_json_is_strict_json_with_a_finding_a_line(tmp_path):
    Report("rests", findings(), (ROW,)).written(tmp_path)
    text = (tmp_path / "numbers.json").read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert numbers["schema"] == SCHEMA and len(numbers["findings"]) == 4
    assert sum(line.startswith('{"title":') for line in text.splitlines()) == 4


def test_folders_without_a_report_of_this_schema_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no numbers"):
        read(tmp_path)
    Report("rests", ()).written(tmp_path)
    path = tmp_path / "numbers.json"
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps({**numbers, "schema": 99}))
    with pytest.raises(InputError, match="schema 99; this version reads 1"):
        read(tmp_path)
    path.write_text(json.dumps({**numbers, "findings": [{"title": "x", "module": "os", "result": "system"}]}))
    with pytest.raises(InputError, match="no analysis of this package"):
        read(tmp_path)
