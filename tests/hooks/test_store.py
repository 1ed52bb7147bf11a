import shutil

import numpy as np
import pytest
import torch
import xarray
import zarr
from torch import nn

import hooks._zarr
from hooks.errors import InputError
from hooks.fill_store import begin_store, fill_store
from hooks.store import open_store
from tests.hooks.streams import after, stream, texts

SITES = ("blocks.0.resid_post", "blocks.1.resid_post", "blocks.2.resid_post")


def filled(path, model, given, sites="resid_post", **options):
    store = begin_store(path, model, given, sites=sites, **options)
    return fill_store(store, model, given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of 60 texts in several chunks."""
    return filled(tmp_path_factory.mktemp("whole") / "a.zarr", stream(), texts(), batch_tokens=4, source="by hand")


def test_each_state_is_that_of_its_text_run_alone(whole):
    model, given = stream(), texts()
    for block, site in enumerate(SITES):
        found = whole.read(site)
        assert found.dims == ("state", "unit") and found.shape == (sum(map(len, given)), 8)
        assert np.array_equal(
            found.token, [given[int(text)][int(at)] for text, at in zip(found.text, found.position, strict=True)]
        )
        for number, tokens in enumerate(given):
            alone = found[found.text.values == number]
            assert alone.position.values.tolist() == list(range(len(tokens)))
            # float32: a batch may sum in another order than one text
            assert np.abs(alone.values - after(model, block, tokens)).max() < 1e-6


def test_any_zarr_reader_opens_it(whole):
    group = zarr.open_group(whole.path, mode="r")
    assert set(group) == {*SITES, "text", "position", "token", "lengths", "checksums"}
    dataset = xarray.open_zarr(whole.path, consolidated=False, chunks=None)
    assert dataset[SITES[1]].dims == ("state", "unit")
    assert np.array_equal(dataset[SITES[1]].values, whole.read(SITES[1]).values)
    assert np.array_equal(dataset["text"], whole.read(SITES[1]).text)


def test_a_site_is_read_without_the_others_and_a_chunk_without_its_neighbours(whole, tmp_path):
    path = tmp_path / "b.zarr"
    shutil.copytree(whole.path, path)
    shutil.rmtree(path / SITES[0])
    shutil.rmtree(path / SITES[2])
    first, last = whole.layout.chunk(2)
    for chunk in {*range(whole.layout.chunks)} - {2}:
        (path / SITES[1] / "c" / str(chunk) / "0").write_bytes(b"torn")
    found = open_store(path).read(SITES[1])
    assert np.array_equal(found[first:last].values, whole.read(SITES[1])[first:last].values)
    with pytest.raises(Exception, match=r"cannot reshape|buffer"):  # the torn neighbour, once it is asked for
        found[last : last + 1].load()


def test_bfloat16_is_read_back_exactly(tmp_path):
    values = torch.tensor([[1.0, -0.0, 3.3895e38, 9.2e-41], [1.00390625, 1e-3, -257.0, torch.pi]])
    model = nn.ModuleDict({"embed": nn.Embedding(2, 4), "blocks": nn.ModuleList([nn.Identity()])}).eval()
    model["embed"].weight.data = values
    model.forward = lambda tokens: model["blocks"][0](model["embed"](tokens))
    store = filled(tmp_path / "a.zarr", model, [[0, 1]], "blocks.0.resid_post", dtype=torch.bfloat16)
    found = store.read("blocks.0.resid_post")
    assert found.dtype == np.float32
    assert found.values.tobytes() == values.bfloat16().float().numpy().tobytes()
    kept = zarr.open_array(store.path / "blocks.0.resid_post", mode="r")
    assert kept.dtype == np.uint16 and "bfloat16" in kept.attrs["kept_as"]
    assert np.array_equal(kept[:], values.bfloat16().view(torch.uint16).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_round_to_themselves_and_nothing_else(tmp_path, dtype):
    model, given = stream(), texts(20)
    exact = filled(tmp_path / "a.zarr", model, given).read(SITES[2]).values
    found = filled(tmp_path / "b.zarr", model, given, dtype=dtype).read(SITES[2]).values
    assert np.array_equal(found.astype(np.float32), torch.tensor(exact).to(dtype).float().numpy())


def test_one_pass_moments_are_those_of_all_states(whole):
    states = whole.read(SITES[1]).values.astype(np.float64)
    norms = np.linalg.norm(states, axis=1)
    found = whole.moments(SITES[1])
    assert whole.layout.chunks > 5 and found.states == len(states)
    # float64 sums of some 400 numbers of order one
    assert np.abs(found.mean - states.mean(axis=0)).max() < 1e-13
    assert np.abs(found.variance - states.var(axis=0)).max() < 1e-13
    assert np.abs(whole.covariance(SITES[1]) - np.cov(states.T, bias=True)).max() < 1e-13
    said = [found.norm_mean, found.norm_variance, found.norm_min, found.norm_max]
    assert np.abs(np.array(said) - [norms.mean(), norms.var(), norms.min(), norms.max()]).max() < 1e-13


def test_a_lazy_trajectory_runs_over_layers_or_over_tokens(whole):
    parts = list(whole.parts())
    assert len(parts) == whole.layout.chunks and {part.clock for part in parts} == {"layer"}
    states = np.concatenate([part.states for part in parts])
    assert np.array_equal(states, np.stack([whole.read(site).values for site in SITES], axis=1))
    assert np.array_equal(np.concatenate([part.labels["text"] for part in parts]), whole.read(SITES[0]).text)
    assert next(whole.parts(SITES[2])).states.shape[1] == 1

    given = texts()
    seen = {}
    for part in whole.texts(SITES[0]):
        assert part.clock == "token"
        for number, states, tokens in zip(part.labels["text"], part.states, part.labels["token"], strict=True):
            seen[int(number)] = states
            assert np.array_equal(tokens, given[number])
    assert sorted(seen) == list(range(60))
    assert np.abs(seen[7] - after(stream(), 0, given[7])).max() < 1e-6


def test_what_is_not_there_is_never_read(whole, tmp_path):
    path = tmp_path / "b.zarr"
    shutil.copytree(whole.path, path)
    shutil.rmtree(path / "checksums" / "c" / "3")
    store = open_store(path)
    assert store.committed.sum() == store.layout.chunks - 1 and not store.committed[3]
    with pytest.raises(
        InputError, match=rf"has {store.layout.chunks - 1} of {store.layout.chunks} chunks: run the same"
    ):
        store.read(SITES[0])
    first, last = store.layout.chunk(3)
    states = np.delete(whole.read(SITES[0]).values, slice(first, last), axis=0).astype(np.float64)
    assert np.array_equal(np.concatenate([part.states[:, 0] for part in store.parts()]), states)
    assert store.moments(SITES[0]).states == len(states)
    lost = {int(text) for text in whole.labels["text"][first:last]}
    assert not lost & {int(text) for part in store.texts(SITES[0]) for text in part.labels["text"]}
    shutil.rmtree(path / "checksums" / "c")
    with pytest.raises(InputError, match=r"no chunk of 'blocks.0.resid_post' yet"):
        store.moments(SITES[0])


def test_a_flipped_bit_is_found(whole, tmp_path):
    assert whole.damaged() == ()
    path = tmp_path / "b.zarr"
    shutil.copytree(whole.path, path)
    file = path / SITES[1] / "c" / "2" / "0"
    written = bytearray(file.read_bytes())
    written[5] ^= 1
    file.write_bytes(written)
    assert open_store(path).damaged() == ((2, SITES[1]),)


def test_one_text_of_one_token(tmp_path):
    store = filled(tmp_path / "a.zarr", stream(), [[3]])
    assert store.read(SITES[0]).shape == (1, 8) and store.moments(SITES[0]).states == 1
    assert np.all(store.covariance(SITES[0]) == 0)


def test_refusals(whole, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no site 'blocks.9.resid_post' in .*; there are blocks.0.resid_post"):
        whole.read("blocks.9.resid_post")
    with pytest.raises(InputError, match="holds no activations that this version wrote"):
        open_store(tmp_path)
    with pytest.raises(InputError, match="holds no activations"):
        open_store(tmp_path / "none.zarr")

    def missing(name):
        raise ImportError(name=name)

    monkeypatch.setattr(hooks._zarr.importlib, "import_module", missing)
    with pytest.raises(
        InputError, match=r"need xarray, which is not installed: pip install 'interp-dynamics\[capture\]'"
    ):
        open_store(whole.path)
