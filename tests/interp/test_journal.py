import json

import numpy as np
import pytest
import torch

from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.index import index_sum
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.result import Outcome
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from interp.journal import Journal, recorded
from tests.known import linear, rolled_tanh


def counting(function):
    """The same analysis, which counts its calls."""

    def counted(*args, **options):
        counted.calls += 1
        return function(*args, **options)

    counted.calls = 0
    counted.__annotations__, counted.__module__ = function.__annotations__, function.__module__
    counted.__qualname__ = function.__qualname__
    return counted


def test_a_finding_keeps_title_result_call_and_seconds():
    journal = Journal()
    found = journal.note("fixed points", find_fixed_points, rolled_tanh(2), 32, apart=1e-5)
    (finding,) = journal.findings
    assert journal.results == {"fixed points": found} and finding.seconds > 0
    assert finding.call == "analyses.maps.fixed_points.find_fixed_points(<rolled tanh 2>, 32, apart=1e-05)"
    with pytest.raises(InputError, match="a finding 'fixed points' already"):
        journal.note("fixed points", index_sum, rolled_tanh(2), found.points)


def test_a_second_run_reads_findings_back_and_a_changed_call_is_made_again(tmp_path):
    search = counting(find_fixed_points)
    first = Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 32)
    again = Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 32)
    assert search.calls == 1 and np.array_equal(first.points, again.points) and again.outcomes == first.outcomes
    Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 33)
    assert search.calls == 2
    with pytest.raises(InputError, match="holds findings of a, not of b"):
        Journal(tmp_path, fingerprint="b")


def test_a_map_of_no_name_in_a_journal_of_no_name_is_measured_again(tmp_path):
    # two fields that are code have the same recorded call: what was found of the one must not be told of the other
    def rate(value):
        return (
            Journal(tmp_path).note("exponents", lyapunov_spectrum, linear([[value]]), [[1.0]], steps=100).exponents[0]
        )

    assert rate(0.5) == pytest.approx(np.log(0.5)) and rate(0.25) == pytest.approx(np.log(0.25))


def test_a_half_written_finding_is_never_read(tmp_path):
    search = counting(find_fixed_points)
    Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 8)
    (kept,) = tmp_path.glob("*.json")
    kept.rename(kept.with_suffix(".part"))
    Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 8)
    assert search.calls == 2


def test_a_kept_file_cannot_name_code_outside_the_analyses(tmp_path):
    search = counting(find_fixed_points)
    Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 8)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "module": "os"}))
    Journal(tmp_path, fingerprint="a").note("points", search, rolled_tanh(2), 8)
    assert search.calls == 2


def test_a_result_with_other_fields_than_this_version_has_is_made_again(tmp_path):
    first = Journal(tmp_path, fingerprint="a").note("points", find_fixed_points, rolled_tanh(2), [[0.5, 0.5]])
    (path,) = tmp_path.glob("*.json")
    written = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in written.items() if name != "hits"}))
    again = Journal(tmp_path, fingerprint="a").note("points", find_fixed_points, rolled_tanh(2), [[0.5, 0.5]])
    assert np.array_equal(first.hits, again.hits)


def test_what_ran_out_of_time_is_not_kept(tmp_path):
    Journal(tmp_path, fingerprint="a", budget=1e-9).note(
        "growth", lyapunov_spectrum, linear([[0.5]]), [[1.0]], steps=50
    )
    whole = Journal(tmp_path, fingerprint="a").note("growth", lyapunov_spectrum, linear([[0.5]]), [[1.0]], steps=50)
    assert whole.outcome is Outcome.CONVERGED


def test_a_budget_stops_long_loops_and_the_result_says_so():
    journal = Journal(budget=0.2)
    found = journal.note("exponents", lyapunov_spectrum, linear([[0.5]]), [[1.0]], steps=10**7)
    assert found.outcome is Outcome.OUT_OF_TIME


def test_the_recorded_call_tells_arrays_apart_by_content():
    one, other = (recorded(index_sum, (linear([[0.5]]), np.full((8, 1), value)), {}) for value in (0.0, 1.0))
    assert one != other and "<8x1 " in one
    assert recorded(index_sum, (), {"watch": print, "generator": torch.Generator(), "times": 2}).endswith("(times=2)")


def test_a_call_spells_mappings_and_long_lists_of_recordings_briefly():
    runs = [Trajectory(np.full((5, 2, 3), float(k))) for k in range(9)]
    call = recorded(index_sum, (runs,), {"controls": {"zeros": np.zeros(9)}})
    assert (
        call.startswith("analyses.maps.index.index_sum(<9 Trajectory ")
        and "controls={zeros: <9 " in call
        and len(call) < 120
    )
    assert call != recorded(index_sum, (runs[::-1],), {"controls": {"zeros": np.zeros(9)}})
