"""The plan of an autoencoder: what it says of networks whose attractors are known, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import interp
from analyses.maps.attractor_account import AttractorAccount
from analyses.maps.distribution_score import DistributionScore
from analyses.maps.loop_attractors import LoopAttractors
from analyses.maps.memorisation import Memorisation
from hooks.errors import InputError, LoadError
from interp.loop_plan import loop_account
from interp.page import read
from interp.plans import report
from interp.verify import verified


class TwoMemories(nn.Module):
    """Values along one direction of four, code tanh(2 x / |a|^2 . a): attractors decode to +-P a, P = tanh(2 P)."""

    def __init__(self, gain=2.0, bias=0.0):
        super().__init__()
        a = torch.tensor([1.0, 2.0, 0.5, 1.0])
        self.encoder = nn.Sequential(nn.Linear(4, 1), nn.Tanh())
        self.decoder = nn.Linear(1, 4)
        with torch.no_grad():
            self.encoder[0].weight.copy_(gain * a[None] / (a @ a))
            self.encoder[0].bias.fill_(bias)
            self.decoder.weight.copy_(a[:, None])
            self.decoder.bias.zero_()


def data(count=60, noise=0.1):
    a, rng = np.array([1.0, 2.0, 0.5, 1.0]), np.random.default_rng(0)
    return rng.choice([-1.0, 1.0], (count, 1)) * a + noise * rng.standard_normal((count, 4))


def of_kind(written, kind):
    return next((finding.result for finding in written.findings if isinstance(finding.result, kind)), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report(TwoMemories(), inputs=data(200), out=tmp_path_factory.mktemp("page"))


def test_two_memories_are_found_proved_and_account_for_the_loop(page):
    found, account = of_kind(page, LoopAttractors), of_kind(page, AttractorAccount)
    assert np.sort(found.points[:, 0]) == pytest.approx(
        [-0.9575040240772687, 0.9575040240772687], abs=1e-7
    )  # float32 weights
    assert found.counts.tolist() == [2, 2] and account.recovered.tolist() == [1, 1, 1]
    assert page.sentences[0].startswith("The loop keeps which of 2 attractors it came to, 2 reached from data")
    assert any("2 of 2 fixed points proved to exist" in sentence for sentence in page.sentences)
    # 40 of 40 held-out starts leave a lower end of 0.025^(1/40) = 0.91, above the 0.9 that is asked
    assert any(sentence.startswith("Its attractors say where held-out starts end") for sentence in page.sentences)
    assert "of 160 starts from data" in page.path.read_text()
    assert page.failed == () and read(page.path.parent).sentences == page.sentences
    assert "the last fifth of them" in page.provenance["notes"]


def test_what_lies_on_the_line_is_not_called_memorised(page):
    """The attractors' cosine with the nearest of 160 noisy points is near 1, and so is that of the held-out points."""
    kept, told = of_kind(page, Memorisation), of_kind(page, DistributionScore)
    assert kept.names == ("held-out points", "their reconstructions", "decodings of random codes")
    assert any(
        sentence.startswith("Not shown: that its attractors hold training data; ") for sentence in page.sentences
    )
    assert (
        told.names[-1] == "reconstruction error" and told.auroc[-1] > 0.7
    )  # 7 of 8 copies mix signs and leave the line


def test_its_proofs_are_verified_from_its_files(page):
    verdicts = verified(page.path.parent)
    assert verdicts and all(verdict.confirmed == verdict.claims == 2 for verdict in verdicts)


def test_one_attractor_keeps_nothing(tmp_path):
    written = report(TwoMemories(gain=0.5), inputs=data(), out=tmp_path)
    assert written.sentences[0].startswith("Everything that converges ends in one place")
    assert "with one attractor there is nothing to tell" in " ".join(written.sentences)
    assert written.failed == ()


def test_a_loop_that_diverges_says_so_and_goes_on(tmp_path):
    module = TwoMemories(gain=2.0)
    module.encoder = module.encoder[0]
    written = report(module, inputs=data(), out=tmp_path)
    assert written.sentences[0].startswith("No attractor was found: of all starts 0.000 converge, 1.000 diverge")
    assert of_kind(written, Memorisation) is None and written.failed == ()


def test_undecided_starts_are_followed_to_their_cycle(tmp_path):
    """tanh(-2 x) takes P to -P and back."""
    written = report(TwoMemories(gain=-2.0), inputs=data(), out=tmp_path)
    assert written.sentences[0].startswith("No attractor was found: of all starts 0.000 converge")
    followed = [one for one in written.sentences if one.startswith("Undecided starts, followed for longer: 64 of 64")]
    assert "on 1 attractor (1 cycle of period 2)" in followed[0]


def test_from_a_file_on_the_command_line(tmp_path, monkeypatch, capsys):
    from typer.testing import CliRunner

    from interp.cli import app

    torch.save(TwoMemories().state_dict(), tmp_path / "weights.pt")
    np.save(tmp_path / "data.npy", data())
    spec = "tests.interp.test_loop_plan:TwoMemories"
    command = ["report", str(tmp_path / "weights.pt"), "--model", spec, "--out", str(tmp_path / "out")]
    answered = CliRunner().invoke(app, [*command, "--inputs", str(tmp_path / "data.npy"), "--json"])
    assert answered.exit_code == 0, answered.output
    assert "2 attractors" in json.loads(answered.stdout)["sentences"][0]
    with pytest.raises(InputError, match="TwoMemories is an autoencoder, whose loop starts from data"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_an_autoencoder_is_a_map_without_data_where_its_layers_say_the_widths():
    dynamics = interp.dynamics(TwoMemories())
    assert (dynamics.dim, dynamics.clock) == (1, "iteration")
    assert dynamics(torch.ones(1, 1, dtype=torch.float64)).item() == pytest.approx(
        np.tanh(2.0), abs=1e-7
    )  # float32 weights


def test_a_recurrent_network_with_an_encoder_and_a_decoder_stays_one():
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.rnn, self.decoder = nn.Linear(2, 3), nn.GRU(3, 4), nn.Linear(4, 2)

    class Stepping(nn.Module):
        input_size, hidden_size = 2, 3

        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, inputs, state):
            return torch.tanh(self.encoder(inputs) + state)

    for module in (Between(), Stepping()):
        assert interp.load(module).dynamics().clock == "time" and not interp.load(module).encodes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((30, 3)), r"TwoMemories does not take inputs of shape \(3,\)"),
        (np.zeros((30, 4), dtype=int), r"data are \(inputs, ...\) floating-point numbers, but int64 of shape \(30, 4\) came"),
        (np.zeros((5, 4)), "5 inputs came; a report of an autoencoder takes 20 at least"),
        (np.full((30, 4), np.nan), "120 input values are not finite"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_anything_is_written(inputs, message, tmp_path):
    with pytest.raises(InputError, match=message):
        report(TwoMemories(), inputs=inputs, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_found_is_no_account():
    assert loop_account({}) == ()
    with pytest.raises(LoadError):
        interp.load(nn.Linear(2, 2)).dynamics()
