"""The page of results is written by a whole comparison only; our row alone is printed and leaves it as it was."""

import numpy as np
import pytest

import benchmarks._table as tables
from benchmarks import fixed_points

BEFORE = "# Benchmarks\n\n## Fixed points of flip-flop GRUs\n\n| the peer's row |\n\n## Another\n\nkept\n"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """RESULTS.md elsewhere, and each timing taken once."""
    path = tmp_path / "RESULTS.md"
    path.write_text(BEFORE)
    monkeypatch.setattr(tables, "RESULTS", path)
    monkeypatch.setattr(fixed_points, "timed", lambda work, times: tables.timed(work, times=1))
    monkeypatch.setattr(fixed_points, "STARTS", 256)
    monkeypatch.setattr(fixed_points.torch, "set_num_threads", lambda count: None)  # of the whole test run
    return path


@pytest.mark.parametrize("options", [[], ["--peer", "no/such/checkout"]])
def test_without_the_peer_the_page_stays_and_our_row_is_printed(options, results, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fixed_points", "--units", "16", *options])
    fixed_points.main()
    printed = capsys.readouterr().out
    assert "| this toolkit |" in printed and "The peer was not run" in printed
    assert results.read_text() == BEFORE


def test_with_the_peer_its_section_is_replaced_and_the_others_stay(results, tmp_path, monkeypatch, capsys):
    (tmp_path / "FixedPointFinderTorch.py").touch()
    monkeypatch.setattr(fixed_points, "peer_points", lambda peer, layer, starts, **settings: np.full((2, 16), 2.0))
    monkeypatch.setattr("sys.argv", ["fixed_points", "--units", "16", "--peer", str(tmp_path)])
    fixed_points.main()
    written = results.read_text()
    assert "| this toolkit |" in written and "the peer's row" not in written and "## Another\n\nkept" in written
    # both of the peer's points lie at 2 in every coordinate: outside the box, and no fixed point
    assert written.count("| 2 | 0 | 2 | 2 | - |") == len(fixed_points.PEER_SETTINGS)
    assert "| this toolkit |" in capsys.readouterr().out
