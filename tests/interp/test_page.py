import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.geometry import linear_geometry
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.stability import classify
from analyses.maps.transitions import transitions
from analyses.result import SCHEMA
from analyses.trajectories.stream_geometry import stream_geometry
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from interp.claims import Row
from interp.figures import _legend_below, pictures
from interp.journal import Journal
from interp.page import LARGE, Report, read
from tests.analyses.test_result import assert_same
from tests.known import linear, rolled_tanh


def findings(dynamics=None):
    dynamics = rolled_tanh(4) if dynamics is None else dynamics
    journal = Journal()
    points = journal.note("fixed points", find_fixed_points, dynamics, 128, around=(-1.0, 1.0))
    journal.note("stability", classify, points)
    starts = np.random.default_rng(0).uniform(-1, 1, (256, dynamics.dim))  # as many as a complete list of F^2 asks for
    journal.note("cycles", find_cycles, dynamics, starts, periods=(2,))
    journal.note("exponents", lyapunov_spectrum, dynamics, np.zeros((1, dynamics.dim)), steps=8)
    return journal.findings


ROW = Row("fixed points", 9, "closed form", 9, 0, "a count")


class Page(HTMLParser):
    """What a reader of the page sees, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.alts, self.text, self.rows = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.alts += [value for name, value in attrs if name == "alt"]

    def handle_data(self, data):
        self.text.append(data)
        if self.rows and self.rows[-1] and self.get_starttag_text().startswith(("<td", "<th", "<br", "<span")):
            self.rows[-1][-1] += data.strip()

    def table(self, *head):
        """The rows below a header that starts with these cells."""
        at = next(i for i, row in enumerate(self.rows) if row[: len(head)] == list(head))
        below = self.rows[at + 1 :]
        same = next((i for i, row in enumerate(below) if len(row) != len(self.rows[at])), len(below))
        return [dict(zip(self.rows[at], row, strict=True)) for row in below[:same]]


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


def test_as_many_points_as_cycles_are_each_called_what_they_are(tmp_path):
    """x' = -tanh(2 x): the rest at 0 has slope -2, the two-cycle of +-0.9575 a multiplier between 0 and 1."""
    flip = Dynamics(lambda x, _: -torch.tanh(2 * x), dim=1, name="flip")
    journal = Journal()
    points = journal.note("fixed points", find_fixed_points, flip, 16, around=(-1.0, 1.0))
    cycles = journal.note("cycles", find_cycles, flip, 16, periods=(2,), around=(-1.0, 1.0))
    journal.note("stability of the fixed points", classify, points)
    journal.note("stability of the cycles", classify, cycles)
    page = Page(Report("flip", journal.findings).written(tmp_path).path.read_text(encoding="utf-8"))
    (point,), (cycle,) = page.table("", "kind"), page.table("", "period")
    assert point["kind"] == "unstable flip" and point["unstable directions"] == "1"
    assert cycle["kind"] == "stable node" and cycle["unstable directions"] == "0"


def test_without_a_classification_the_eigenvalues_say_stable_or_not(tmp_path):
    journal = Journal()
    journal.note("fixed points", find_fixed_points, rolled_tanh(2), 64)
    page = Page(Report("tanh", journal.findings).written(tmp_path).path.read_text(encoding="utf-8"))
    assert {row["kind"] for row in page.table("", "kind")} <= {"stable", "unstable"}


def test_transitions_are_a_table_with_a_mark_where_a_weaker_pulse_ends_elsewhere(tmp_path):
    """x' = tanh(2 x + u): from -0.9575 a pulse of 1.2 crosses the saddle and 0.8 of it does not; one of 9 is robust."""
    latch = Dynamics(lambda x, u: torch.tanh(2 * x + u), dim=1, driven=True, inputs=1, name="latch")
    p = 0.9575040240772687
    journal = Journal()
    journal.note("transitions", transitions, latch, [np.array([[p]]), np.array([[-p]])], [[2.0], [9.0], [-9.0]],
                 rest=[0.0], memory_names=("up", "down"), pulse_names=("weak", "set", "clear"))  # fmt: skip
    text = Report("latch", journal.findings).written(tmp_path).path.read_text(encoding="utf-8")
    up, down = Page(text).table("memory")
    assert up == {"memory": "up", "weak": "up", "set": "up", "clear": "down"}
    assert down == {"memory": "down", "weak": "up *", "set": "up", "clear": "down"}
    assert "* not reached, or not by pulses 0.8 and 1.25 times as strong" in text


def test_sentences_stand_under_the_network_they_are_about(tmp_path):
    journal = Journal()
    for name in ("A", "tanh"):
        journal.note(f"{name}: fixed points", find_fixed_points, rolled_tanh(2), 64)
    sentences = ("Both rest.", "A. It rests.", "tanh. It rests too.", "tanh. Twice.")
    text = Report("two", journal.findings, (), sentences).written(tmp_path).path.read_text(encoding="utf-8")
    words = " ".join(" ".join(Page(text).text).split())
    assert "Both rest. A : It rests. tanh It rests too. Twice." in words
    assert "<h2>tanh</h2>" in text  # a name is written as it is


def test_a_statistic_stands_beside_its_null(tmp_path):
    journal = Journal()
    B = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    network = Dynamics(lambda x, u: x / 2 + u @ B.T, dim=2, driven=True, inputs=1, name="half")
    found = journal.note("inputs", linear_geometry, network, np.zeros((1, 2)), drive=[0.0])
    page = Page(Report("half", journal.findings).written(tmp_path).path.read_text(encoding="utf-8"))
    row = page.table("null")[0]
    assert float(row["measured"]) == pytest.approx(found.nulls[0].observed, rel=1e-2) and "not beaten" in row[""]


def test_no_legend_lies_on_data_and_nothing_found_is_no_picture():
    results = {finding.title: finding.result for finding in findings()}
    for result in results.values():
        figure = Figure()
        ax = result.plot(figure.add_subplot())
        _legend_below(ax)
        figure.canvas.draw()
        if ax.get_legend() is not None:
            assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0
    half = Dynamics(lambda x, _: x / 2, dim=1)
    assert pictures(find_cycles(half, [[0.1]], periods=(2,)), {}) == ()
    assert len(pictures(results["fixed points"], results)) == 1
