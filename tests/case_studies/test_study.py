"""Every study loads, says what it asks, runs at its tiny scale, and gives one row a claim; a wrong name or scale is told."""

import json
import os

import pytest

import case_studies
from case_studies.dynamix_zero_shot import PLACE
from hooks.errors import InputError
from interp.claims import UNMEASURED


@pytest.mark.parametrize("name", case_studies.names())
def test_every_study_runs_at_tiny_scale_and_answers_each_claim(name, tmp_path):
    study = case_studies.load(name)
    assert study.title and study.citation and study.question.endswith("?")
    assert set(study.scales) == {"tiny", "quick", "full"}
    report = study.run("tiny", tmp_path)
    assert [row.quantity for row in report.rows] == [claim.quantity for claim in study.claims]
    assert len({row.quantity for row in report.rows}) == len(report.rows) and report.failed == ()
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["provenance"]["scale"] == "tiny" and numbers["sentences"] == list(report.sentences)


@pytest.mark.slow
@pytest.mark.parametrize("name", case_studies.names())
def test_every_claim_is_measured_at_full_scale(name, tmp_path):
    if name == "dynamix_zero_shot" and PLACE not in os.environ:
        pytest.skip(f"needs {PLACE}")
    if case_studies.load(name).scales["full"].get("data") == "":
        pytest.skip("needs a recording: interp reproduce --scale full --data FILE")
    rows = case_studies.load(name).run("full", tmp_path).rows
    assert [row.quantity for row in rows if row.verdict == UNMEASURED] == []


def test_another_name_or_scale_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"no case study 'flip'; there are .*flip_flop_memory"):
        case_studies.load("flip")
    with pytest.raises(InputError, match="no scale 'big'; there are tiny, quick, full"):
        case_studies.load("flip_flop_memory").run("big", tmp_path)
    assert list(tmp_path.iterdir()) == []
