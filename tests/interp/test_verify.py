"""Proofs are made again from the written files; whatever is changed in these is refused."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from analyses.maps.absence import certify_absence
from analyses.maps.certificates import certify, confirmed
from analyses.maps.contraction import certify_contraction
from analyses.maps.fixed_points import find_fixed_points
from analyses.symbols.exact_cycles import exact_cycles
from analyses.symbols.exact_fixed_points import exact_fixed_points
from hooks.dynamics import Dynamics
from hooks.errors import InputError, LoadError
from hooks.families import LeakyRate, PiecewiseLinear, dynamix, flow, rebuilt, recurrent
from interp.journal import Journal
from interp.maps import read_maps
from interp.page import Report
from interp.verify import verified
from tests.hooks.families.test_dynamix import CONTEXT, RELU, parameters
from tests.hooks.families.test_liquid import closed, network


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def some(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def written(folder):
    """A report with one finding of each kind that proves something, on two maps."""
    journal = Journal()
    gru = seeded(lambda: recurrent(nn.GRU(2, 4), readout=nn.Linear(4, 1))).hold([0.5, 0.0])
    points = journal.note("fixed points", find_fixed_points, gru, 64)
    journal.note("proofs of the fixed points", certify, gru, points.points)
    small = LeakyRate(0.2 * some(2, 2), some(2, 1), some(2), torch.tensor(0.5)).dynamics().hold([1.0])
    journal.note("contraction", certify_contraction, small)
    rests = find_fixed_points(small, 16)
    proofs = certify(small, rests.points)
    journal.note("absence", certify_absence, small, except_for=(rests.points, proofs.unique_within))
    tent = PiecewiseLinear(*(torch.tensor(w).double() for w in ([1.25], [[-3.25]], [1.0])), relu=1)
    journal.note("every fixed point", exact_fixed_points, tent)
    return Report("three maps", journal.findings, maps=journal.maps).written(folder)


def test_every_proof_is_made_again_from_the_files(tmp_path):
    written(tmp_path)
    verdicts = verified(tmp_path)
    titles = ["proofs of the fixed points", "contraction", "absence", "every fixed point"]
    assert [verdict.title for verdict in verdicts] == titles
    assert all(verdict.confirmed == verdict.claims >= 1 for verdict in verdicts)
    assert str(verdicts[1]) == "contraction: 1 of 1 proved again"


@pytest.mark.parametrize("field", ["points", "radii", "unique_within", "unstable"])
def test_a_changed_number_is_refused(tmp_path, field):
    written(tmp_path)
    path = tmp_path / "numbers.json"
    numbers = json.loads(path.read_text())
    proofs = numbers["findings"][1]
    values = proofs[field]["values"]
    match field:
        case "points":
            values[0][0][0] += 1e-3
        case "radii":
            values[0] = 1e-17  # a ball below the rounding of its own center
        case "unique_within":
            values[0] = 2.0  # all of the cube
        case "unstable":
            values[0] += 1
    path.write_text(json.dumps(numbers))
    first = verified(tmp_path)[0]
    assert first.confirmed == first.claims - 1


@pytest.mark.parametrize(("finding", "field", "value"), [(2, "rate", 0.01), (1, "times", 4)])
def test_a_better_rate_or_another_period_is_refused(tmp_path, finding, field, value):
    written(tmp_path)
    path = tmp_path / "numbers.json"
    numbers = json.loads(path.read_text())
    numbers["findings"][finding][field] = value
    path.write_text(json.dumps(numbers))
    assert verified(tmp_path)[finding - 1].confirmed == 0


def test_a_point_that_is_moved_in_a_complete_list_is_refused(tmp_path):
    written(tmp_path)
    path = tmp_path / "numbers.json"
    numbers = json.loads(path.read_text())
    numbers["findings"][-1]["points"]["values"][0][0] += 0.1
    path.write_text(json.dumps(numbers))
    last = verified(tmp_path)[-1]
    assert (last.claims, last.confirmed) == (1, 0)


def test_a_complete_list_of_cycles_is_made_again_and_a_moved_state_is_refused(tmp_path):
    journal = Journal()
    tent = PiecewiseLinear(*(torch.tensor(w).double() for w in ([1.25], [[-3.25]], [1.0])), relu=1)
    journal.note("every short cycle", exact_cycles, tent, periods=(1, 2, 3))
    nothing = PiecewiseLinear(*(torch.tensor(w).double() for w in ([1.0], [[0.0]], [1.0])), relu=0)
    journal.note("no cycle", exact_cycles, nothing, periods=(1, 2))
    Report("two maps", journal.findings, maps=journal.maps).written(tmp_path)
    assert [verdict.confirmed for verdict in verified(tmp_path)] == [1, 1]
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    state = numbers["findings"][0]["points"]["values"][1][0]
    for claimed in (state[0] + 0.1, None):
        state[0] = claimed
        (tmp_path / "numbers.json").write_text(json.dumps(numbers))
        assert [verdict.confirmed for verdict in verified(tmp_path)] == [0, 1]


def test_changed_weights_are_other_weights(tmp_path):
    written(tmp_path)
    path = tmp_path / "maps.safetensors"
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("layers.0.W_h"))
    tensors[name][0, 0] += 1e-9
    save_file(tensors, path, metadata=metadata)
    first = verified(tmp_path)[0]
    assert first.confirmed == 0 and "not those it was made with" in first.reason


def test_a_report_without_maps_or_with_broken_ones_is_refused(tmp_path):
    written(tmp_path)
    whole = (tmp_path / "maps.safetensors").read_bytes()
    (tmp_path / "maps.safetensors").write_bytes(whole[:100])
    with pytest.raises(InputError, match="cut short"):
        verified(tmp_path)
    (tmp_path / "maps.safetensors").unlink()
    with pytest.raises(InputError, match="no weights to prove anything of"):
        verified(tmp_path)
    with pytest.raises(LoadError, match="no family 'other'"):
        rebuilt({"family": "other"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: recurrent(nn.RNN(2, 3, nonlinearity="relu"), readout=nn.Linear(3, 2, bias=False)),
        lambda: recurrent(nn.LSTM(2, 3, num_layers=2)),
        lambda: LeakyRate(some(3, 3), some(3, 2), some(3), some(3).sigmoid(), "softplus", W_out=some(1, 3)).dynamics(),
        lambda: PiecewiseLinear(some(3), some(3, 3), some(3), 2, 1).dynamics(),
        lambda: flow(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), 3, dt=0.1, substeps=2),
        lambda: network().dynamics(dt=0.3),
        lambda: closed(cells=2, common=2),
        lambda: dynamix(parameters(), CONTEXT, relu=RELU),
    ],
)
def test_every_family_is_rebuilt_to_the_bit(make, tmp_path):
    dynamics = seeded(make)
    held = dynamics.hold(torch.ones(2)) if dynamics.driven else dynamics
    Report("maps", (), maps={held.fingerprint: held.weights}).written(tmp_path)
    again = read_maps(tmp_path)[held.fingerprint]
    states = some(5, dynamics.dim)
    assert torch.equal(again(states), held(states)) and again.fingerprint == held.fingerprint
    if held.readout is not None:
        assert torch.equal(again.readout(states), held.readout(states))


def test_a_drive_is_part_of_what_a_map_is():
    gru = seeded(lambda: recurrent(nn.GRU(1, 3)))
    prints = {gru.fingerprint, gru.hold([0.0]).fingerprint, gru.hold([1.0]).fingerprint, gru.iterated(2).fingerprint}
    assert len(prints) == 4


def test_claims_of_nothing_are_confirmed_and_a_map_from_code_is_not_written():
    bit = Dynamics(lambda x, _: torch.atan(x), dim=1)
    nothing = certify(bit, [[0.0]])
    assert confirmed(bit, nothing).tolist() == [True] and not nothing.proved.any()
    tanh = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1)
    proofs = certify(tanh, np.array([[[0.0]]]))
    assert confirmed(tanh, proofs).all() and math.isfinite(proofs.radii[0])
    journal = Journal()
    journal.note("proofs", certify, tanh, [[0.0]])
    assert journal.maps == {}
