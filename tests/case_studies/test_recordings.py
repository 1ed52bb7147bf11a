"""A recording is read from whatever holds it, and what is no recording is told so."""

import numpy as np
import pytest

import case_studies
from case_studies._recordings import memory, recording
from hooks.errors import InputError

VALUES = np.arange(12.0).reshape(4, 3) / 7


@pytest.mark.parametrize(("separator", "ending"), [(",", "csv"), ("\t", "tsv"), (" ", "txt"), (";", "txt")])
@pytest.mark.parametrize("header", ["", "first,second,third\n"])
def test_text_is_read_with_and_without_names(tmp_path, separator, ending, header):
    path = tmp_path / f"recording.{ending}"
    path.write_text(header + "\n".join(separator.join(f"{value:.17g}" for value in row) for row in VALUES) + "\n")
    assert np.array_equal(recording(path), VALUES)  # 17 digits hold a float64 exactly


def test_arrays_are_read_and_one_axis_is_one_channel(tmp_path):
    np.save(tmp_path / "two.npy", VALUES.astype(np.float32))
    np.save(tmp_path / "one.npy", np.arange(5))
    two, one = recording(tmp_path / "two.npy"), recording(tmp_path / "one.npy")
    assert two.dtype == one.dtype == np.float64
    assert two.shape == (4, 3) and np.array_equal(one, np.arange(5.0)[:, None])


def test_edf_is_read_to_the_resolution_of_its_digits(tmp_path):
    edfio = pytest.importorskip("edfio")
    t = np.arange(512) / 256
    waves = [np.sin(2 * np.pi * t), np.cos(2 * np.pi * t)]
    edfio.Edf([edfio.EdfSignal(wave, sampling_frequency=256) for wave in waves]).write(tmp_path / "waves.edf")
    # 16 bits over a range of 2
    assert np.abs(recording(tmp_path / "waves.edf") - np.stack(waves, axis=1)).max() < 2 / 2**16


def test_what_is_no_recording_is_refused(tmp_path):
    np.save(tmp_path / "side.npy", VALUES.T)
    np.save(tmp_path / "hole.npy", np.array([[0.0], [np.nan], [1.0]]))
    np.save(tmp_path / "names.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object))
    (tmp_path / "words.csv").write_text("a,b\n1,2\n3,x\n")
    (tmp_path / "recording.mat").write_text("")
    for name, told in (
        ("none.npy", "there is no file"),
        ("recording.mat", r"is a .npy, .csv, .tsv, .txt or .edf file, but recording.mat came"),
        ("side.npy", "3 steps of 4 channels: transpose it"),
        ("hole.npy", "not finite at step 1 of channel 0"),
        ("names.npy", "a recording is steps by channels"),
        ("objects.npy", "no .npy array of numbers"),
        ("words.csv", "no table of numbers"),
    ):
        with pytest.raises(InputError, match=told):
            recording(tmp_path / name)


def test_the_memory_of_an_autoregression_is_that_of_its_coefficient():
    draw = np.random.default_rng(0).normal(size=200_000)
    series = np.zeros(len(draw))
    for t in range(1, len(draw)):
        series[t] = 0.9 * series[t - 1] + draw[t]
    assert memory(series) == 10  # 0.9 ** 9 = 0.387, 0.9 ** 10 = 0.349, 1 / e = 0.368; errors are about 0.01
    assert memory(draw) == 1


def test_a_recording_is_refused_where_there_is_none_to_use(tmp_path):
    with pytest.raises(InputError, match=r"takes no recording, so 'heart.csv' has no use: leave --data out"):
        case_studies.load("flip_flop_memory").run("tiny", tmp_path, data="heart.csv")
    for name in ("almost_linear_heartbeat", "almost_linear_fmri"):
        with pytest.raises(InputError, match=r"give one as --data, such as .*github.com/DurstewitzLab/ALRNN-DSR"):
            case_studies.load(name).run("full", tmp_path)
