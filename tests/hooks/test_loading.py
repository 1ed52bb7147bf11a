import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hooks.errors import LoadError
from hooks.loading import loaded, tensors_of


class Trap:
    """Opening a pickle of this makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def gru():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.GRU(3, 4)


def assert_same_weights(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[key].float(), expected[key].float()) for key in expected)


def test_content_decides_whatever_the_extension(tmp_path):
    weights = gru().state_dict()
    torch.save(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "b", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "c.pt")
    np.savez(tmp_path / "d.npz", **{key: value.numpy() for key, value in weights.items()})
    for name in ("a.safetensors", "b", "c.pt", "d.npz"):
        assert_same_weights(loaded(tmp_path / name), weights)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3, "pytorch-lightning_version": "2.0", "optimizer_states": []},
        lambda weights: {"model": {"state_dict": weights}, "loss": 0.1},
        lambda weights: {"model_state_dict": weights},
    ],
)
def test_checkpoints_are_unwrapped(tmp_path, wrap):
    weights = gru().state_dict()
    torch.save(wrap(weights), tmp_path / "last.ckpt")
    assert_same_weights(tensors_of(loaded(tmp_path / "last.ckpt")), weights)


def test_half_precision_becomes_double(tmp_path):
    torch.save({"w": torch.tensor([0.5], dtype=torch.bfloat16)}, tmp_path / "w.pt")
    assert tensors_of(loaded(tmp_path / "w.pt"))["w"].dtype == torch.float64


def test_a_pickle_that_executes_code_is_refused_unopened_and_trusted_only_on_demand(tmp_path):
    for number, write in enumerate((lambda thing, path: torch.save(thing, path), bare_pickle)):
        flag = tmp_path / f"executed{number}"
        path = tmp_path / f"evil{number}.pt"
        write({"w": torch.zeros(1), "x": Trap(flag)}, path)
        with pytest.raises(LoadError, match=r"would execute code: save the weights alone.*--trust"):
            loaded(path)
        assert not flag.exists()
    module = tmp_path / "module.pt"
    torch.save(gru(), module)
    with pytest.raises(LoadError, match="would execute code"):
        loaded(module)
    assert isinstance(loaded(module, trust=True), nn.GRU)


def bare_pickle(thing, path):
    path.write_bytes(pickle.dumps(thing))


def test_a_plain_pickle_of_weights_is_read_under_trust_alone_and_once(tmp_path):
    bare_pickle({"w": torch.ones(2), "v": np.zeros(3), "x": Trap(tmp_path / "made")}, tmp_path / "plain.pkl")
    with pytest.raises(LoadError, match="would execute code"):
        loaded(tmp_path / "plain.pkl")
    content = loaded(tmp_path / "plain.pkl", trust=True)  # a second opening would fail: the folder is there
    assert {key: tuple(value.shape) for key, value in tensors_of(content).items()} == {"w": (2,), "v": (3,)}
    with pytest.raises(LoadError, match=r"plain.pkl cannot be unpickled: FileExistsError"):
        loaded(tmp_path / "plain.pkl", trust=True)


def test_broken_files_are_told_in_whole_sentences(tmp_path):
    save_file(gru().state_dict(), tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    for size in (40, len(data) - 9):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(LoadError, match=r"cut begins like safetensors but is cut short or damaged$"):
            loaded(tmp_path / "cut")
    (tmp_path / "text").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(LoadError, match=r"or is cut short: it is no whole file of safetensors, torch or NumPy$"):
        loaded(tmp_path / "text")


def test_files_that_hold_nothing_are_refused_in_one_line(tmp_path):
    weights = gru().state_dict()
    torch.save(weights, tmp_path / "whole.pt")
    save_file(weights, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        data = (tmp_path / name).read_bytes()
        for share in (0.02, 0.3, 0.9):
            (tmp_path / f"cut-{share}-{name}").write_bytes(data[: int(share * len(data))])
    (tmp_path / "empty").touch()
    (tmp_path / "text.pt").write_text("these are no weights\n")
    (tmp_path / "page.pt").write_text("<!doctype html><html>404</html>")
    (tmp_path / "objects.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", w=np.array([{}], dtype=object))
    for path in sorted(tmp_path.iterdir()):
        if path.name.startswith("whole"):
            continue
        with pytest.raises(LoadError) as caught:
            loaded(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(LoadError, match="there is no file"):
        loaded(tmp_path / "absent.pt")
    with pytest.raises(LoadError, match="is a folder"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3}, "holds no tensors, only"),
        ({"w": torch.zeros(2, dtype=torch.int64)}, "'w' in the file is torch.int64"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "real floating-point"),
        (
            {"w": torch.tensor([1.0, float("nan"), float("inf")])},
            "'w' in the file has 2 of 3 values that are NaN or infinite",
        ),
    ],
)
def test_what_is_no_state_dict_of_finite_weights_is_refused(content, message):
    with pytest.raises(LoadError, match=message):
        tensors_of(content)


def test_signs_masks_and_counters_may_be_whole_numbers():
    given = {
        "signs": torch.tensor([1, -1]),
        "cell.input_mask": torch.ones(2, dtype=torch.int32),
        "on": torch.tensor([True, False]),
        "bn.num_batches_tracked": torch.tensor(7),
        "w": torch.zeros(2),
    }
    kept = tensors_of(given)
    assert set(kept) == set(given) and kept["signs"].dtype == torch.int64


def test_counters_of_batch_norm_do_not_disturb():
    kept = tensors_of({"w": torch.zeros(2), "num_batches_tracked": torch.tensor(7)})
    assert kept["num_batches_tracked"] == 7
