import numpy as np
import pytest
import torch
from torch import nn

import interp
from case_studies._tasks import flip_flop
from case_studies._train import Reader, train
from hooks.errors import InputError, LoadError
from interp.comparison_plan import Member, _names, comparison_account, many_networks
from interp.journal import Journal
from interp.page import read
from tests.known_readers import PARITY, PARITY_READOUT, PARITY_START, PARITY_WEIGHTS

UNITS = 5


def saved(path, bits, rng):
    """A tanh network with ``bits`` bistable units and weak ones, small noise on the weights, its units in random order and with
    random signs (tanh is odd, so that leaves the map); one input channel."""
    rnn = nn.RNN(1, UNITS)
    W = np.diag(np.where(np.arange(UNITS) < bits, 1.8, 0.4)) + 0.03 * rng.standard_normal((UNITS, UNITS))
    P = np.eye(UNITS)[rng.permutation(UNITS)] * rng.choice([-1.0, 1.0], UNITS)
    weights = {name: torch.zeros_like(value) for name, value in rnn.state_dict().items()}
    weights |= {"weight_hh_l0": torch.tensor(P @ W @ P.T), "weight_ih_l0": torch.tensor(P @ np.ones((UNITS, 1)))}
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Seven networks, the fifth with one bit where the others have two."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    return [saved(folder / f"seed{number}.pt", 1 if number == 4 else 2, rng) for number in range(7)]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    return interp.compare(runs, nonlinearity="tanh", out=tmp_path_factory.mktemp("there"))


def test_the_odd_one_out_is_named_first_and_the_page_has_a_row_for_each(page):
    assert page.sentences[0].startswith(
        "seed4 is the odd one out, by numbers of fixed points and cycles, eigenvalues of fixed points and cycles, "
    )
    assert not page.failed
    titles = [finding.title for finding in page.findings]
    assert titles[:2] == ["fixed points and cycles of all", "dynamical similarity of all"] and len(titles) == 6
    orbits = page.findings[0].result
    assert orbits.names == tuple(f"seed{number}" for number in range(7))
    assert orbits.fixed_points[:, 0].tolist() == [4, 4, 4, 4, 2, 4, 4] and orbits.complete == ("yes",) * 7
    html = page.path.read_text()
    assert all(f"<td>{name}</td>" in html for name in orbits.names) and "<td>4 stable, 4 with 1, 1 with 2</td>" in html
    assert read(page.path.parent).sentences == page.sentences


def noted(folder, files, inputs, **options):
    """A journal of the plan on these files under inputs, at small settings."""
    members = {}
    for path in files:
        dynamics = interp.dynamics(path, nonlinearity="tanh")
        members[path.stem] = Member(dynamics, interp.rollout(dynamics, np.zeros((len(inputs), UNITS)), drives=inputs))
    journal = Journal(folder)
    many_networks(journal, members, starts=64, steps=40, draws=0, **options)
    return journal


def test_what_is_finished_is_kept_and_a_further_network_alone_is_searched(runs, tmp_path):
    """By the journal's clock: what was read back has the seconds of the first run."""
    inputs = np.random.default_rng(0).standard_normal((8, 20, 1))
    first, again, wider = (
        {finding.title: finding.seconds for finding in noted(tmp_path, runs[:count], inputs).findings}
        for count in (2, 2, 3)
    )
    own = [title for title in first if ": " in title]
    assert len(own) == 6 and first == again and len(wider) == len(first) + 3
    assert [wider[title] for title in own] == [first[title] for title in own]


def test_copies_with_permuted_units_are_at_distance_0_and_none_stands_out(tmp_path):
    """The same weights with the units in four orders, under the same inputs."""
    rng = np.random.default_rng(1)
    files = [saved(tmp_path / "copy0.pt", 2, rng)]
    weights = torch.load(files[0], weights_only=True)
    W, U = (weights[f"weight_{kind}_l0"].numpy() for kind in ("hh", "ih"))
    for number in range(1, 4):
        P = np.eye(UNITS)[rng.permutation(UNITS)] * rng.choice([-1.0, 1.0], UNITS)
        moved = {"weight_hh_l0": torch.tensor(P @ W @ P.T), "weight_ih_l0": torch.tensor(P @ U)}
        files.append(tmp_path / f"copy{number}.pt")
        torch.save({**weights, **moved}, files[-1])
    results = noted(None, files, rng.standard_normal((12, 40, 1))).results
    assert results["fixed points and cycles of all"].distances.max() < 1e-6
    assert results["dynamical similarity of all"].distances.max() < 1e-6
    account = comparison_account(results)
    assert account[0].startswith(
        "None of the networks stands out by numbers of fixed points and cycles, eigenvalues of"
    )
    assert account[0].endswith("or dynamical similarity.")


def test_networks_that_read_symbols_are_compared_by_their_automata(tmp_path):
    """Parity by hand in four orders of the units, and once with what it says the other way round."""
    pytest.importorskip("aalpy")
    rng, files = np.random.default_rng(0), [tmp_path / f"run{number}.pt" for number in range(5)]
    for number, file in enumerate(files):
        order = rng.permutation(4)
        weights = {f"rnn.{name}": value[order] for name, value in PARITY_WEIGHTS.items()}
        weights["rnn.weight_hh_l0"] = weights["rnn.weight_hh_l0"][:, order]
        said = PARITY_READOUT.flip(0) if number == 3 else PARITY_READOUT
        torch.save({**weights, "readout.weight": said[:, order], "h0": PARITY_START[order]}, file)
    words = np.eye(2)[rng.integers(0, 2, (16, 12))]
    page = interp.compare(files, inputs=words, nonlinearity="relu", out=tmp_path / "page")
    (met,) = (finding.result for finding in page.findings if finding.title == "automata of all")
    assert met.same.sum(axis=1).tolist() == [4, 4, 4, 1, 4] and met.machine(0).isomorphic_to(PARITY.minimal())
    assert met.distances[0].tolist() == [0, 0, 0, 1, 0]  # every word is told the other way round
    assert any(one.startswith("Automata: 4 of 5 machines are the same, 2 different in all") for one in page.sentences)


def test_a_wrong_file_among_many_is_named_and_nothing_is_searched(runs, tmp_path):
    torch.save({"w": torch.zeros(2, 2)}, wrong := tmp_path / "wrong.pt")
    with pytest.raises(LoadError, match=r"wrong\.pt is not recognised"):
        interp.compare([*runs[:3], wrong], nonlinearity="tanh", out=tmp_path / "there")
    wide = nn.RNN(2, UNITS)
    torch.save(wide.state_dict(), wrong)
    with pytest.raises(
        InputError, match="wrong takes 2 inputs and seed0 takes 1: networks are compared under one drive"
    ):
        interp.compare([runs[0], wrong], nonlinearity="tanh", out=tmp_path / "there")
    with pytest.raises(InputError, match=r"wrong: inputs have shape \(runs, steps, 2\)"):
        interp.compare([runs[0], wrong], inputs=np.zeros((2, 5, 1)), nonlinearity="tanh", out=tmp_path / "there")
    with pytest.raises(InputError, match="two networks at least, but 1 source came"):
        interp.compare(runs[:1], nonlinearity="tanh")
    with pytest.raises(InputError, match="2 networks need as many different names, but a, a came"):
        interp.compare(runs[:2], names=("a", "a"), nonlinearity="tanh", out=tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_files_of_one_name_in_two_folders_are_called_by_both():
    assert _names(["runs/a.pt", "runs/b.pt"]) == ("a", "b")
    assert _names(["here/1/a.pt", "here/2/a.pt", "here/2/b.pt"]) == ("1/a", "2/a", "2/b")
    assert _names([nn.RNN(1, 2), "N1.pt"]) == ("N1", "N1")  # refused by compare


def test_a_spent_budget_is_told_and_what_it_cut_short_is_not_kept(runs, tmp_path):
    options = {
        "inputs": np.random.default_rng(0).standard_normal((4, 9, 1)),
        "nonlinearity": "tanh",
        "out": tmp_path / "there",
    }
    found = interp.compare(runs[:2], budget=1e-6, **options)
    assert found.unfinished == ("fixed points and cycles of all",)
    assert found.sentences[0].startswith("Not shown: whether one is unlike the others; that takes four networks")
    assert not interp.compare(runs[:2], **options).unfinished


def flip_flop_draw(odd):
    """Two bits, each set by its own channel; of the odd task one bit, set by the last pulse on either channel, said twice."""

    def draw(generator):
        inputs, targets = flip_flop(bits=2, runs=64, steps=40, generator=generator)
        if odd:
            pulses = inputs.sum(dim=2).sign()
            last = torch.where(pulses != 0, torch.arange(40), -1).cummax(1).values
            targets = torch.where(last < 0, 0.0, pulses.gather(1, last.clamp(min=0)))[..., None].expand(-1, -1, 2)
        return inputs, targets

    return draw


@pytest.mark.slow
def test_twenty_seeds_of_a_flip_flop_and_one_network_of_another_task_which_is_singled_out(tmp_path):
    """GRUs of eight units: each keeps four memories, the planted one two. Without it, none stands out by its memories."""
    files = []
    for number in range(21):
        odd = number == 11
        module, _ = train(
            lambda: Reader(nn.GRU(2, 8, batch_first=True), 2), flip_flop_draw(odd),
            seed=number, updates=800, learning_rate=2e-2, goal=1e-3,
        )  # fmt: skip
        torch.save(module.rnn.state_dict(), tmp_path / f"seed{number}.pt")
        files.append(tmp_path / f"seed{number}.pt")
    inputs = flip_flop(bits=2, runs=64, steps=60, generator=torch.Generator().manual_seed(99))[0].double().numpy()
    found = interp.compare(files, inputs=inputs, out=tmp_path / "there")
    orbits, verdicts = found.findings[0].result, {finding.title: finding.result for finding in found.findings[2:]}
    assert orbits.fixed_points[11, 0] == 2 and (np.delete(orbits.fixed_points[:, 0], 11) == 4).all()
    for by in ("numbers of fixed points and cycles", "dynamical similarity"):
        assert verdicts[f"odd one out, by {by}"].stands_out and verdicts[f"odd one out, by {by}"].furthest == 11
    assert found.sentences[0].startswith("seed11 is the odd one out, by numbers of fixed points and cycles")
    rest = interp.compare(files[:11] + files[12:], inputs=inputs, out=tmp_path / "there")
    assert rest.sentences[0].startswith("None of the networks stands out")
