"""The plan of a transformer: what it says of trained streams, and that random-weight networks yield no findings."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from analyses.trajectories._depth import TWIN
from analyses.trajectories._stream_profiles import STATISTICS
from case_studies._small_gpt import untrained
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from interp.findings import discoveries
from interp.journal import Journal
from interp.page import read
from interp.plans import report
from interp.residual_plan import recorded, residual, revision_reports, stream_account

TEXTS, STEPS = 16, 8


@cache
def random_network(seed, mapped):
    """Last-token stream, and maps, of a four-block GPT of random weights on texts that all of them share."""
    tokens = np.random.default_rng(0).integers(0, 256, (TEXTS, STEPS))
    return recorded(untrained(seed, layers=4, units=16, context=STEPS), list(tokens), mapped=mapped)


def false_findings(networks, twins, draws, mapped=0):
    """(networks with a finding, share of numbers found, share told from their twins alone), each network against others."""
    rng = np.random.default_rng(0)
    some, found, told = 0, [], []
    for subject in range(networks):
        others = rng.permutation([seed for seed in range(max(networks, twins + 1)) if seed != subject])[:twins]
        journal, (stream, maps) = Journal(), random_network(subject, mapped)
        residual(
            journal,
            stream,
            maps=maps,
            twins=[random_network(seed, mapped) for seed in others.tolist()],
            draws=draws,
            grid=2,
        )
        tried = discoveries(journal.results)
        some += any(one.found for one in tried)
        found += [one.found for one in tried]
        told += [null.beaten for one in tried for null in one.nulls if null.name == TWIN]
    return some, np.mean(found), np.mean(told)


def test_random_weight_networks_yield_few_findings():
    # a network is exchangeable with its twins, so its rank among them is uniform; 12 at 0.05: more than 3 with p = 0.002
    some, found, _ = false_findings(12, 19, 19)
    assert some <= 3 and found <= 0.05


@pytest.mark.slow
def test_of_a_hundred_random_weight_networks_at_most_five_per_cent_of_numbers_are_findings():
    # at 0.05 a network 5 of 100 have a finding on average, more than 11 with probability 0.004 if they were independent; they
    # share a pool of twins, where distinct ranks spread less
    some, found, told = false_findings(100, 39, 19, mapped=2)
    assert some <= 11 and found <= 0.05
    # the twins' p is uniform: 2 of 40 ranks lie at 0.05; 14 dependent numbers of 100 networks scatter by about a fifth of that
    assert told == pytest.approx(0.05, abs=0.03)


def turning(seed=0, texts=TEXTS, dim=16):
    """A stream whose increments turn slowly, as no random network's do."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, texts, 1, dim))
    angle = np.linspace(0, np.pi, 5)[:, None]
    steps = a * np.cos(angle) + b * np.sin(angle) + 0.1 * rng.standard_normal((texts, 5, dim))
    return Trajectory(steps.cumsum(axis=1), "layer")


def walk(seed):
    return Trajectory(np.random.default_rng(seed).standard_normal((TEXTS, 5, 16)).cumsum(axis=1), "layer")


def test_a_stream_with_structure_is_a_finding_beside_its_nulls():
    journal = Journal()
    residual(journal, turning(), twins=((walk(seed), ()) for seed in range(1, 240)), draws=239)
    assert [finding.title for finding in journal.findings] == ["portrait", "motion", "rotation", "local dimension"]
    tried = discoveries(journal.results)
    found = {one.statistic for one in tried if one.found}
    assert "bend" in found and {one.statistic for one in tried} <= {*STATISTICS, "turns", "dimension"}
    sentences = stream_account(journal.results)
    assert sentences[0].startswith(f"{len(found)} of {len(tried)} numbers of the stream beat every null")
    assert any(sentence.startswith("Beats its nulls: motion, bend is ") for sentence in sentences)


def test_a_stream_that_its_scrambled_twins_share_is_no_finding():
    journal = Journal()
    twins = ((walk(seed), ()) for seed in range(1, 240))
    residual(journal, turning(), twins=twins, scrambled=[(turning(seed), ()) for seed in range(1, 20)], draws=239)
    bend = next(one for one in discoveries(journal.results) if one.statistic == "bend")
    lost = {null.name for null in bend.nulls if not null.beaten}
    assert lost == {"scrambled twins"} and not bend.found


def test_without_twins_nothing_is_said_to_be_learned():
    journal = Journal()
    residual(journal, turning(), draws=39)
    sentences = stream_account(journal.results)
    assert sentences[0].startswith("Not shown: that training made any of this")
    assert not any(sentence.startswith("Beats its nulls") for sentence in sentences)


def test_too_few_draws_are_told():
    journal = Journal()
    residual(journal, turning(), twins=[(walk(seed), ()) for seed in range(1, 4)], draws=19)
    sentences = stream_account(journal.results)
    assert sentences[0].startswith("0 of ") and "3 of a null allow no p below 0.25" in sentences[1]


def test_a_folder_and_a_file_of_tokens_become_a_page(tmp_path):
    untrained(5, layers=3, units=8, context=8).save_pretrained(tmp_path / "model")
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 256, (12, 10)))
    page = report(tmp_path / "model", text=tmp_path / "ids.npy", twins=2, out=tmp_path / "page")
    assert page.subject == "model: GPT2LMHeadModel, 3 blocks of width 8" and page.failed == ()
    assert [finding.title for finding in page.findings][-1] == "teleport"
    assert page.provenance["text"].endswith("12 texts, 8 to 8 tokens")  # cut to what the model takes
    assert any(
        sentence.startswith(("Not told from", "Beats")) and "rotation, turns" in sentence for sentence in page.sentences
    )
    again = read(tmp_path / "page")
    assert again.sentences == page.sentences and "q over the page" in page.path.read_text(encoding="utf-8")


class Hub:
    """A model of a hub with three checkpoints, the two functions of huggingface_hub that are used."""

    def list_repo_refs(self, repo):
        return SimpleNamespace(branches=[SimpleNamespace(name=f"step{n}") for n in (0, 1, 10)], tags=[])

    def snapshot_download(self, repo, *, revision, local_dir, allow_patterns):
        untrained(int(revision[4:]), layers=2, units=8, context=8).save_pretrained(local_dir)


def test_every_checkpoint_of_a_hub_model_becomes_a_page_and_a_killed_run_goes_on(tmp_path):
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 256, (6, 8)))
    call = {
        "text": tmp_path / "ids.npy",
        "revisions": "step0..step10",
        "out": tmp_path / "pages",
        "hub": Hub(),
        "twins": 1,
    }
    pages = revision_reports("some/gpt", **call)
    first, second = next(pages), next(pages)
    assert first.path == tmp_path / "pages" / "gpt" / "step0" / "report.html"
    assert first.provenance["fingerprint"] != second.provenance["fingerprint"]
    pages.close()  # while the second is in use: it is given again
    rest = list(revision_reports("some/gpt", **call))
    assert [page.path.parent.name for page in rest] == ["step1", "step10", "over networks"]
    (over,) = (finding.result for finding in rest[-1].findings)
    assert over.networks == ("gpt",) and over.checkpoints == ("step0", "step1", "step10")
    assert (
        "rotation, turns" in over.statistics
        and np.isfinite(over.values[0, :, over.statistics.index("rotation, turns")]).all()
    )
    assert "too few networks to tell" in rest[-1].sentences[0]


def test_one_text_no_text_and_what_has_no_use_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.arange(8))
    model = untrained(5, layers=3, units=8, context=8)
    with pytest.raises(InputError, match="holds one text; the unit of replication is the text"):
        report(model, text=tmp_path / "one.npy", out=tmp_path / "page")
    with pytest.raises(InputError, match="GPT2LMHeadModel is a transformer: give it texts"):
        report(model, out=tmp_path / "page")
    with pytest.raises(InputError, match="takes no inputs, relu: leave out one or the other"):
        report(model, text=tmp_path / "one.npy", inputs=np.zeros((2, 3, 1)), relu=2)
    with pytest.raises(InputError, match="twins=-1 and seed=0 came"):
        report(model, text=tmp_path / "one.npy", twins=-1, out=tmp_path / "page")
