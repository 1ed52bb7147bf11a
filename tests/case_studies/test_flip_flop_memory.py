"""The shipped flip-flop networks: what they do, where they keep it, and that no point is missing or made up."""

import re

import numpy as np
import pytest
import torch

import case_studies
from analyses.maps.certificates import certify
from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.index import index_sum
from case_studies._tasks import flip_flop
from case_studies.flip_flop_memory import BITS, UNITS, shipped, trained
from hooks.dynamics import rollout
from hooks.families import recurrent
from interp.claims import UNMEASURED

REST = np.zeros(BITS)


def trials(seed):
    return flip_flop(bits=BITS, runs=64, steps=64, generator=torch.Generator().manual_seed(seed))


def held(kind):
    return recurrent(shipped(kind).rnn).hold(REST)


def visited(kind, seed):
    module = shipped(kind)
    return rollout(recurrent(module.rnn), np.zeros((64, UNITS)), drives=trials(seed)[0])


@pytest.fixture(scope="module")
def gru():
    return find_fixed_points(held("GRU"), 1024, around=visited("GRU", 99))


@pytest.fixture(scope="module")
def tanh():
    found = find_fixed_points(held("tanh"), 1024, around=visited("tanh", 99))
    rng = np.random.default_rng(0)
    seen = visited("tanh", 99).points()
    starts = np.concatenate([found.points, rng.permutation(seen)[:1024] + rng.normal(size=(1024, UNITS)) / 2])
    return found, find_cycles(held("tanh"), starts, periods=(2,))


@pytest.mark.parametrize("kind", ["GRU", "tanh"])
def test_the_shipped_network_solves_the_task_on_new_trials(kind):
    inputs, targets = trials(seed=5)
    said = shipped(kind)(inputs)
    assert (said.sign() == targets).double().mean() > 0.999
    assert ((said - targets) ** 2).mean() < 0.01  # the memory is 1 in size, so this is an error of a tenth


def test_gru_keeps_three_bits_on_eight_stable_points_all_proved(gru):
    assert int(gru.stable.sum()) == 8 and not np.isnan(gru.residuals).any() and (gru.residuals <= 1e-10).all()
    assert (np.abs(gru.points) <= 1).all()
    proofs = certify(held("GRU"), gru.points)
    assert proofs.proved.all() and proofs.radii.max() < 1e-9
    assert int((proofs.unstable == 0).sum()) == 8
    assert index_sum(held("GRU"), gru.points).total == 1
    assert all(check.passed for check in (*gru.checks, *proofs.checks))
    said = np.sign(shipped("GRU").readout(torch.as_tensor(gru.points[gru.stable]).float()).numpy())
    assert len(np.unique(said, axis=0)) == 8  # one memory for each of the 2^3 settings


@pytest.mark.parametrize("where", ["other trials", "the whole box"])
def test_an_independent_search_from_ten_times_the_starts_finds_nothing_new(gru, where):
    generator = torch.Generator().manual_seed(1234)
    around = visited("GRU", 4321) if where == "other trials" else None
    again = find_fixed_points(held("GRU"), 10240, around=around, generator=generator)
    gaps = np.linalg.norm(again.points[:, None] - gru.points[None], axis=2)
    # both sets are polished to rounding, and distinct roots lie further apart than 1e-6
    assert (gaps.min(axis=1) < 1e-9).all() and len(again.points) == len(gru.points) == 27
    assert (np.abs(again.points) <= 1).all()


def test_tanh_rests_nowhere_stably_and_keeps_its_memories_on_proved_two_cycles(tanh):
    found, cycles = tanh
    assert len(found.points) == 27 and not found.stable.any()
    assert len(cycles.periods) == 27 and int(cycles.stable.sum()) == 8
    proofs = certify(held("tanh"), cycles.points[cycles.stable, 0], times=2)
    assert proofs.proved.all() and (proofs.unstable == 0).all()
    assert certify(held("tanh"), found.points).proved.all()


def test_tanh_index_sums_are_one_for_the_map_and_its_square(tanh):
    found, cycles = tanh
    of_square = np.concatenate([found.points, cycles.points[:, 0], cycles.points[:, 1]])
    assert index_sum(held("tanh"), found.points).total == 1
    assert index_sum(held("tanh"), of_square, times=2).total == 1


def test_deleting_any_one_point_turns_the_check_red(gru, tanh):
    found, cycles = tanh
    of_square = np.concatenate([found.points, cycles.points[:, 0], cycles.points[:, 1]])
    for kind, points, times in (("GRU", gru.points, 1), ("tanh", found.points, 1), ("tanh", of_square, 2)):
        for row in range(len(points)):
            (check,) = index_sum(held(kind), np.delete(points, row, axis=0), times=times).checks
            assert not check.passed


def test_the_report_says_in_plain_words_where_the_memories_are(tmp_path):
    report = case_studies.load("flip_flop_memory").run("tiny", tmp_path)
    said = " ".join(report.sentences)
    assert "GRU. Its memories are fixed points: 8 of " in said
    assert (
        "tanh. Its memory is not a fixed point: of 27 fixed points none is stable. The memories are 8 stable 2-cycles"
        in said
    )
    page = (tmp_path / "report.html").read_text()
    # 27 fixed points, all saddles, and 27 cycles, 8 of them stable: the rows of both tables
    tables = [re.findall(r"<td>(?:stable|saddle|unstable) \w+</td>", table) for table in page.split("<table>")]
    kinds = [[row[4:-5].split()[0] for row in table] for table in tables if table]
    assert [(len(kind), kind.count("stable")) for kind in kinds] == [(27, 8), (27, 0), (27, 8)]
    assert "Its memory is not a fixed point" in page and len(page) < 2e6
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)


def test_claims_on_the_shipped_gru_are_exact_and_those_on_other_seeds_wait_for_them(tmp_path):
    rows = {row.quantity: row for row in case_studies.load("flip_flop_memory").run("tiny", tmp_path).rows}
    assert rows["GRU: fixed points"].within == 0 and rows["GRU: fixed points"].measured == 27
    others = [row for quantity, row in rows.items() if quantity.startswith("GRUs of other seeds")]
    assert len(others) == 3 and {row.verdict for row in others} == {UNMEASURED}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GRU", "tanh"])
def test_shipped_weights_are_what_the_recipe_trains(kind):
    """Machines order sums differently and training amplifies that, so the task decides, not the digits."""
    inputs, targets = trials(seed=5)
    assert (trained(kind)(inputs).sign() == targets).double().mean() > 0.99


@pytest.mark.slow
def test_five_other_seeds_are_reported_as_found(tmp_path):
    report = case_studies.load("flip_flop_memory").run("full", tmp_path)
    lines = [sentence for sentence in report.sentences if sentence.startswith("GRU of seed ")]
    assert len(lines) == 5 and all(re.search(r"onto \d+ fixed points, \d+ stable", line) for line in lines)
