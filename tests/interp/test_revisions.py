import json
import os
import threading
import time
from types import SimpleNamespace

import pytest

from hooks.errors import InputError, LoadError
from interp.revisions import checkpoints, revisions_between

STEPS = [f"step{n}" for n in (0, 1, 2, 4, 512, 1000, 2000, 10000)]


class Hub:
    """The two functions of huggingface_hub that are used, on made-up models; it writes down what is on disk meanwhile."""

    def __init__(self, folder, names=STEPS, weights="model.safetensors", broken=()):
        self.folder, self.names, self.weights, self.broken = folder, names, weights, set(broken)
        self.downloads, self.most = [], 0
        self.lock = threading.Lock()

    def list_repo_refs(self, repo):
        branches = [SimpleNamespace(name=name) for name in ("main", *self.names)]
        return SimpleNamespace(branches=branches, tags=[])

    def snapshot_download(self, repo, *, revision, local_dir, allow_patterns):
        with self.lock:
            local_dir.mkdir(parents=True, exist_ok=True)
            self.most = max(self.most, sum(path.is_dir() for path in self.folder.iterdir()))
            if revision in self.broken:
                (local_dir / "half").write_text("half")
                raise ConnectionError("the line was cut")
            (local_dir / "config.json").write_text(json.dumps({"revision": revision, "repo": repo}))
            if any(self.weights.endswith(pattern.lstrip("*")) for pattern in allow_patterns):
                (local_dir / self.weights).write_text(revision)
            self.downloads.append((repo, revision))


def what(checkpoint):
    """The revision that lies in its folder, from the files themselves."""
    said = json.loads((checkpoint.folder / "config.json").read_text())
    assert (said["repo"], said["revision"]) == (checkpoint.repo, checkpoint.revision)
    return said["revision"]


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ("step1..step2000", ["step1", "step2", "step4", "step512", "step1000", "step2000"]),
        ("step10000..step10000", ["step10000"]),
        ("main", ["main"]),
    ],
)
def test_a_span_is_in_the_order_of_its_numbers(tmp_path, span, found):
    assert list(revisions_between("a/b", span, hub=Hub(tmp_path))) == found


def test_names_with_two_numbers_are_those_of_one_kind(tmp_path):
    hub = Hub(tmp_path, ["step10-tokens4B", "step9-tokens3B", "step100-tokens40B", "step20", "step11-tokens4B-b"])
    assert revisions_between("a/b", "step9-tokens3B..step100-tokens40B", hub=hub) == (
        "step9-tokens3B",
        "step10-tokens4B",
        "step100-tokens40B",
    )


def test_every_revision_is_there_in_turn_and_two_at_most_are_on_disk(tmp_path):
    hub = Hub(tmp_path)
    seen, on_disk = [], []
    for checkpoint in checkpoints("a/b", "step0..step10000", tmp_path, hub=hub):
        seen.append(what(checkpoint))
        assert (checkpoint.folder / "model.safetensors").read_text() == checkpoint.revision
        while len(hub.downloads) < min(len(seen) + 1, len(STEPS)):  # the next comes while this one is in use
            time.sleep(0.001)
        on_disk.append(sum(path.is_dir() for path in tmp_path.iterdir()))
    assert seen == STEPS and on_disk == [2] * (len(STEPS) - 1) + [1] and hub.most == 2
    assert [path.name for path in tmp_path.iterdir()] == ["finished.json"]


def test_one_is_downloaded_ahead_and_no_more(tmp_path):
    hub = Hub(tmp_path)
    turns = checkpoints("a/b", "step0..step10000", tmp_path, hub=hub)
    next(turns)
    turns.close()  # waits for the download that runs
    assert [revision for _, revision in hub.downloads] == ["step0", "step1"]


def test_seeds_are_models_of_their_own_in_turn(tmp_path):
    hub = Hub(tmp_path)
    found = [(c.repo, what(c)) for c in checkpoints("a/b-seed{seed}", "step0..step1", tmp_path, seeds="1..2", hub=hub)]
    assert found == [(f"a/b-seed{seed}", step) for seed in (1, 2) for step in ("step0", "step1")]


def test_it_goes_on_where_it_was_killed_and_downloads_nothing_twice(tmp_path):
    hub = Hub(tmp_path)
    turns = checkpoints("a/b", "step0..step10000", tmp_path, hub=hub)
    assert [what(next(turns)) for _ in range(3)] == STEPS[:3]  # two finished, the third in use
    turns.close()
    hub.downloads.clear()
    assert [what(c) for c in checkpoints("a/b", "step0..step10000", tmp_path, hub=hub)] == STEPS[2:]
    assert [revision for _, revision in hub.downloads] == STEPS[4:]  # the third and fourth lay there
    assert list(checkpoints("a/b", "step0..step10000", tmp_path, hub=hub)) == []


def test_a_failed_analysis_does_not_finish_its_checkpoint(tmp_path):
    hub = Hub(tmp_path)

    def account():
        for checkpoint in checkpoints("a/b", "step0..step4", tmp_path, hub=hub):
            raise ArithmeticError(checkpoint)

    with pytest.raises(ArithmeticError):
        account()
    assert [what(c) for c in checkpoints("a/b", "step0..step4", tmp_path, hub=hub)] == STEPS[:4]


def test_a_cut_line_is_one_sentence_and_a_half_download_is_never_given(tmp_path):
    hub = Hub(tmp_path, broken=["step2"])
    turns = checkpoints("a/b", "step1..step4", tmp_path, hub=hub)
    assert what(next(turns)) == "step1"
    with pytest.raises(LoadError, match="the hub does not give a/b: ConnectionError: the line was cut"):
        next(turns)
    hub.broken.clear()
    assert [what(c) for c in checkpoints("a/b", "step1..step4", tmp_path, hub=hub)] == ["step2", "step4"]


def test_older_revisions_have_pickled_weights(tmp_path):
    hub = Hub(tmp_path, weights="pytorch_model.bin")
    for checkpoint in checkpoints("a/b", "step0", tmp_path, hub=hub):
        assert (checkpoint.folder / "pytorch_model.bin").exists()
    with pytest.raises(LoadError, match=r"revision 'step1' of a/b holds no weights"):
        next(checkpoints("a/b", "step1", tmp_path, hub=Hub(tmp_path, weights="readme.md")))


def test_what_else_lies_in_the_folder_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    list(checkpoints("a/b", "step0..step1", tmp_path, hub=Hub(tmp_path)))
    assert sorted(os.listdir(tmp_path)) == ["finished.json", "mine"]


def test_refusals(tmp_path):
    hub = Hub(tmp_path)
    with pytest.raises(InputError, match="has no revision 'step3'; near it are step"):
        revisions_between("a/b", "step0..step3", hub=hub)
    with pytest.raises(InputError, match="from a smaller to a larger number"):
        revisions_between("a/b", "step4..step1", hub=hub)
    with pytest.raises(InputError, match="from a smaller to a larger number"):
        revisions_between("a/b", "main..step1", hub=hub)
    with pytest.raises(InputError, match=r"given as a\.\.b or one name, not '\.\.step1'"):
        revisions_between("a/b", "..step1", hub=hub)
    with pytest.raises(InputError, match="came with 2 seeds"):
        checkpoints("a/b", "step0", tmp_path, seeds=(1, 2), hub=hub)
    with pytest.raises(InputError, match="came with no seeds"):
        checkpoints("a/b{seed}", "step0", tmp_path, hub=hub)
    with pytest.raises(InputError, match=r"seeds are given as a\.\.b or one number, not '3\.\.1'"):
        checkpoints("a/b{seed}", "step0", tmp_path, seeds="3..1", hub=hub)

    def none(repo):
        raise OSError("Name or service not known")

    with pytest.raises(LoadError, match="the hub does not give a/b: OSError: Name or service not known"):
        checkpoints("a/b", "step0", tmp_path, hub=SimpleNamespace(list_repo_refs=none))
