import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

import hooks._zarr
from hooks.errors import CaptureError, InputError
from hooks.fill_store import begin_store, fill_store
from hooks.stack import record_stream, stack_of
from hooks.store import open_store
from interp.progress import within_budget
from tests.hooks.streams import after, files_of, stream, texts
from tests.tiny import NAMES, tiny

SITES = ("resid_pre", "resid_post")
CHILDREN = multiprocessing.get_context("forkserver")  # one process imports torch, and children are copies of it
CHILDREN.set_forkserver_preload(["tests.hooks.test_fill_store", "zarr", "xarray"])


def begun(path, given, model=None, **options):
    options = {"sites": SITES, "batch_tokens": 12, **options}
    return begin_store(path, model or stream(), given, **options)


def fill(path, given, shard=(0, 1), die_at=None):
    """In a process of its own: fills the store; is killed at this write, between its file and the next."""
    torch.set_num_threads(1)
    if die_at is not None:
        put, left = hooks._zarr._put, [die_at]

        def dying(folder, chunk, where, values):
            if left[0] == 0:
                torn = folder / "c" / str(chunk)
                torn.mkdir(parents=True)
                (torn / "0.0123.partial").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            put(folder, chunk, where, values)

        hooks._zarr._put = dying
    fill_store(open_store(path), stream(), given, shard=shard)


def started(*args):
    child = CHILDREN.Process(target=fill, args=args)
    child.start()
    return child


def killed_at_random(path, given, kills, rng):
    """Fills the store in children that are killed, this often, at moments that no one chose; how many chunks each left."""
    left = []
    chunks = open_store(path).layout.chunks
    for target in np.sort(rng.integers(0, int(0.8 * chunks), kills)):
        child = started(path, given)
        while open_store(path).committed.sum() < target and child.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        child.kill()
        child.join()
        left.append(int(open_store(path).committed.sum()))
    child = started(path, given)
    child.join()
    assert child.exitcode == 0
    return left


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fill_store(begun(tmp_path_factory.mktemp("whole") / "a.zarr", texts(200)), stream(), texts(200))


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_three_times_at_random_it_is_the_store_of_an_uninterrupted_run(uninterrupted, tmp_path, seed):
    store = begun(tmp_path / "b.zarr", texts(200))
    left = killed_at_random(store.path, texts(200), 3, np.random.default_rng(seed))
    assert left[0] < store.layout.chunks  # it was interrupted
    assert files_of(store.path) == files_of(uninterrupted.path)


def test_killed_at_every_kind_of_write_nothing_half_written_is_committed(uninterrupted, tmp_path):
    store = begun(tmp_path / "b.zarr", texts(200))
    a_chunk = len(store.sites) + 1  # the sites, then the mark
    for write in range(a_chunk):
        before = store.committed.sum()
        child = started(store.path, texts(200), (0, 1), a_chunk + write)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert store.committed.sum() == before + 1  # the whole chunk before, and nothing of the torn one
        assert store.damaged() == ()
    fill_store(store, stream(), texts(200))
    assert files_of(store.path) == files_of(uninterrupted.path)


def test_shards_in_any_order_and_at_once_make_the_same_store(uninterrupted, tmp_path):
    one = begun(tmp_path / "b.zarr", texts(200))
    for shard in (2, 0, 1):
        fill_store(begun(tmp_path / "b.zarr", texts(200)), stream(), texts(200), shard=(shard, 3))
    assert files_of(one.path) == files_of(uninterrupted.path)
    other = begun(tmp_path / "c.zarr", texts(200))
    children = [started(other.path, texts(200), (shard, 4)) for shard in range(4)]
    for child in children:
        child.join()
    assert files_of(other.path) == files_of(uninterrupted.path)


def test_more_shards_than_chunks_leave_some_without_work(tmp_path):
    store = begun(tmp_path / "a.zarr", texts(3))
    for shard in range(50):
        fill_store(store, stream(), texts(3), shard=(shard, 50))
    assert store.committed.all()


def test_the_same_call_again_computes_nothing(uninterrupted):
    calls, model = [], stream()
    model.embed.register_forward_hook(lambda *_: calls.append(1))
    fill_store(uninterrupted, model, texts(200))
    assert calls == []


def test_stopped_early_it_is_good_and_goes_on(uninterrupted, tmp_path):
    store = begun(tmp_path / "a.zarr", texts(200))
    fill_store(store, stream(), texts(200), watch=within_budget(0.0))
    assert 0 < store.committed.sum() < store.layout.chunks and store.damaged() == ()
    fill_store(store, stream(), texts(200))
    assert files_of(store.path) == files_of(uninterrupted.path)


def test_an_interruption_keeps_what_was_full(tmp_path):
    store = begun(tmp_path / "a.zarr", texts(200))

    def interrupted(states, total):
        yield next(iter(states))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_store(store, stream(), texts(200), watch=interrupted)
    assert store.committed.sum() >= 1 and store.damaged() == ()


@pytest.mark.parametrize(
    ("positions", "kept"),
    [("last", lambda n: [n - 1]), ((0, -1), lambda n: sorted({0, n - 1})), ((3,), lambda n: [3] if n > 3 else [])],
)
def test_positions_are_those_asked_for(tmp_path, positions, kept):
    model, given = stream(), texts(40)
    store = begun(tmp_path / "a.zarr", given, positions=positions)
    fill_store(store, model, given)
    found = store.read("blocks.1.resid_post")
    for number, tokens in enumerate(given):
        own = found[found.text.values == number]
        assert own.position.values.tolist() == kept(len(tokens))
        assert np.abs(own.values - after(model, 1, tokens)[kept(len(tokens))]).max(initial=0) < 1e-6  # float32 sums


@pytest.mark.parametrize("name", NAMES)
def test_a_transformer_of_any_kind_gives_the_stream_that_is_recorded_text_by_text(tmp_path, name):
    model, given = tiny(name), texts(12)
    store = begin_store(tmp_path / "a.zarr", model, given, sites="resid_post", batch_tokens=24)
    found = next(iter(fill_store(store, model, given).parts()))
    alone = record_stream(stack_of(model), given, batch=1)
    order = np.lexsort((found.labels["position"], found.labels["text"]))
    assert all(np.array_equal(found.labels[key][order], alone.labels[key]) for key in ("text", "position", "token"))
    # float32, a text among others of its length or alone: rounding of sums of 32 to 64 terms of order one
    assert np.abs(found.states[order] - alone.states[:, 1:]).max() < 1e-5


def test_no_forward_pass_holds_padding_or_more_tokens_than_allowed(tmp_path):
    seen, model, given = [], stream(), texts(80)
    model.embed.register_forward_hook(lambda module, tokens, output: seen.append(tokens[0].clone()))
    store = begin_store(tmp_path / "a.zarr", model, given, sites="resid_post", batch_tokens=30)
    seen.clear()
    fill_store(store, model, given)
    assert all(batch.numel() <= 30 for batch in seen)
    lines = sorted(tuple(line.tolist()) for batch in seen for line in batch)
    assert lines == sorted(tuple(tokens.tolist()) for tokens in given)


def test_the_estimate_is_what_the_sites_take(uninterrupted):
    files = files_of(uninterrupted.path)
    assert uninterrupted.nbytes == sum(
        len(written) for name, written in files.items() if "resid" in name and "/c/" in name
    )


def test_the_users_model_is_left_as_it_came(tmp_path):
    model = stream()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fill_store(begun(tmp_path / "a.zarr", texts(20)), model, texts(20))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_state_that_the_dtype_cannot_hold_is_refused_by_name(tmp_path):
    model, given = stream(), [[1, 2, 3], [4, 5, 6], [7, 8]]
    with torch.no_grad():
        model.embed.weight[5] = 1e5  # above 65504, the largest float16
    store = begun(tmp_path / "a.zarr", given, model, dtype=torch.float16, sites="blocks.0.resid_pre")
    with pytest.raises(
        CaptureError, match=r"text 1 at position 1 is not finite at blocks.0.resid_pre in float16.*6.55e\+04"
    ):
        fill_store(store, model, given)
    assert not store.committed.any()


def test_a_full_disk_is_refused_with_the_numbers(tmp_path, monkeypatch):
    store = begun(tmp_path / "a.zarr", texts(20))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(InputError, match=rf"needs {store.nbytes:,} bytes more, but its disk has 1,000 free"):
        fill_store(store, stream(), texts(20))


def test_refusals(tmp_path):
    model, given = stream(), texts(20)
    store = begun(tmp_path / "a.zarr", given)
    with pytest.raises(
        InputError, match=r"captured otherwise and cannot be continued: it has positions 'all', not 'last'"
    ):
        begun(tmp_path / "a.zarr", given, positions="last")
    with pytest.raises(InputError, match="begun with other model"):
        fill_store(store, stream(seed=1), given)
    with pytest.raises(InputError, match="begun with other texts"):
        fill_store(store, model, given[::-1])
    with pytest.raises(InputError, match=r"a shard is \(i, N\) with i from 0 to N - 1, not \(2, 2\)"):
        fill_store(store, model, given, shard=(2, 2))
    new = tmp_path / "b.zarr"
    with pytest.raises(InputError, match="kept as float32, float16, bfloat16, not float64"):
        begun(new, given, dtype=torch.float64)
    with pytest.raises(InputError, match=r"text 1 has shape \(1,\)"):
        begun(new, [[1], [0.5]])
    with pytest.raises(InputError, match="0 texts"):
        begun(new, [])
    with pytest.raises(InputError, match=r"none of the 20 texts, 12 tokens at most, has position 40$"):
        begun(new, given, positions=(40,))
    with pytest.raises(
        InputError, match=r"positions are 'all', 'last' or whole numbers such as \(0, -1\), not 'first'"
    ):
        begun(new, given, positions="first")
    with pytest.raises(InputError, match="training mode"):
        begin_store(new, stream().train(), given, sites=SITES)
    with pytest.raises(
        CaptureError, match=r"has no site 'resid_middle'; its sites are blocks.k. and one of resid_pre, resid_post"
    ):
        begun(new, given, sites="resid_middle")
    assert not new.exists()


@pytest.mark.slow
def test_ten_thousand_texts_killed_three_times_at_random_are_an_uninterrupted_run(tmp_path):
    given = texts(10_000, longest=48)
    whole = fill_store(begun(tmp_path / "a.zarr", given, batch_tokens=512), stream(), given)
    store = begun(tmp_path / "b.zarr", given, batch_tokens=512)
    left = killed_at_random(store.path, given, 3, np.random.default_rng(0))
    assert left[-1] < store.layout.chunks
    assert files_of(store.path) == files_of(whole.path)
