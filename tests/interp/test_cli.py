import json
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import case_studies
import interp
from interp._version import __version__
from interp.cli import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command in this process, inside an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["interp", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def weights(tmp_path):
    """Files that a user may give."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru, rnn = nn.GRU(3, 4), nn.RNN(3, 4)
    torch.save(gru.state_dict(), tmp_path / "gru.pt")
    torch.save(gru, tmp_path / "module.pt")
    torch.save(rnn.state_dict(), tmp_path / "rnn.pt")
    torch.save({"A": torch.ones(2) / 2, "W": torch.zeros(2, 2), "h": torch.ones(2)}, tmp_path / "al.pt")
    torch.save({"W": torch.eye(2), "W_in": torch.ones(2, 1)}, tmp_path / "rate.pt")
    torch.save({"W": torch.eye(2), "W_in": torch.ones(2)}, tmp_path / "flat.pt")
    torch.save({"A": torch.tensor(0.5), "W": torch.zeros(1, 1), "h": torch.ones(1)}, tmp_path / "number.pt")
    torch.save({"w": torch.zeros(2, 2)}, tmp_path / "keys.pt")
    bad = {**gru.state_dict(), "weight_hh_l0": torch.full((12, 4), torch.inf)}
    torch.save(bad, tmp_path / "infinite.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "gru.pt").read_bytes()[:1000])
    (tmp_path / "empty.pt").touch()
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 3)))
    np.save(tmp_path / "wide.npy", np.zeros((2, 5, 4)))
    np.save(tmp_path / "integers.npy", np.zeros((2, 5, 3), dtype=int))
    np.save(tmp_path / "nothing.npy", np.zeros((0, 5, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("absent.pt", "there is no file absent.pt"),
        ("empty.pt", "empty.pt is empty"),
        ("cut.pt", "cut.pt holds no weights that can be read, or is cut short"),
        ("module.pt", "opening it would execute code: save the weights alone"),
        ("keys.pt", "keys.pt is not recognised. It holds w (2, 2)."),
        ("infinite.pt", "'weight_hh_l0' in infinite.pt has 48 of 48 values that are NaN or infinite"),
        ("rnn.pt", "(--nonlinearity)"),
        ("al.pt", "(--relu P)"),
        ("rate.pt", "(--leak)"),
        ("gru.pt --inputs wide.npy", "inputs have shape (runs, steps, 3) or (steps, 3), but (2, 5, 4) came"),
        ("gru.pt --inputs integers.npy", "but int64 came"),
        ("gru.pt --inputs nothing.npy", "the inputs are empty: shape (0, 5, 3)"),
        ("gru.pt --inputs objects.npy", "objects.npy is no .npy array of numbers"),
        ("gru.pt --inputs gru.pt", "gru.pt is no .npy array of numbers"),
        ("gru.pt --inputs absent.npy", "there is no file absent.npy"),
        ("gru.pt --model nowhere:Class", "nowhere:Class with {} cannot be built"),
        ("gru.pt --kwargs [1]", "--kwargs is a JSON object"),
        ("gru.pt --kwargs {", "--kwargs is not JSON"),
        ("flat.pt --leak 0.5", "W_in has shape (2,); 2 units need (2, inputs)"),
        ("number.pt --relu 1", "an almost-linear RNN has A (dim,)"),
        ("gru.pt --relu 1", "gru.pt (GRU): leave out relu= (--relu)"),
        ("gru.pt --seed -1", "the seed lies in 0 to 2^63 - 1, but -1 came"),
        ("gru.pt --seed 99999999999999999999", "the seed lies in 0 to 2^63 - 1"),
        ("gru.pt --out empty.pt", "empty.pt cannot be the folder of the report: empty.pt is a file (out)"),
        ("gru.pt --out empty.pt/deeper", "empty.pt is a file (out)"),
        ("gru.pt --out /proc/there", "/proc cannot be written"),
        ("gru.pt --device nowhere", "device 'nowhere' cannot be used here"),
        ("gru.pt --revisions 0..1", "--revisions are of a transformer on texts: give --text"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(run, weights, words, message):
    code, out, err = run("report", *words.split())
    assert code == 2 and out == ""
    assert err.startswith("interp: ") and err.count("\n") == 1 and message in err and "Traceback" not in err
    assert not (weights / "interp-report").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("reproduce nothing", f"no case study 'nothing'; there are {', '.join(case_studies.names())}"),
        ("reproduce flip_flop_memory --scale huge", "no scale 'huge'; there are tiny, quick, full"),
        ("report", "Missing argument"),
        ("report gru.pt --seed many", "Invalid value for '--seed'"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_bad_usage_exits_2_too(run, words, message):
    code, _, err = run(*words.split())
    assert code == 2 and message in err and "Traceback" not in err


def test_report_prints_the_page_and_writes_four_files(run, weights):
    code, out, err = run("report", "gru.pt", "--inputs", "x.npy", "--out", "there", "--seed", 5)
    assert (code, out, err) == (0, "there/report.html\n", "")
    assert sorted(path.name for path in (weights / "there").iterdir()) == [
        "arrays.safetensors",
        "maps.safetensors",
        "numbers.json",
        "report.html",
    ]
    assert json.loads((weights / "there" / "numbers.json").read_text())["provenance"]["seed"] == "5"
    code, out, _ = run("report", "al.pt", "--relu", 1, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["path"] == "interp-report/al/report.html" and answer["failed"] == []
    assert answer["sentences"][0].startswith("It keeps no memory")
    code, out, _ = run("report", "module.pt", "--trust")
    assert code == 0 and out == "interp-report/module/report.html\n"


def test_compare_writes_one_page_and_names_the_wrong_file(run, weights):
    (weights / "copy.pt").write_bytes((weights / "gru.pt").read_bytes())
    code, out, err = run("compare", "gru.pt", "copy.pt", "--inputs", "x.npy", "--out", "there")
    assert (code, out, err) == (0, "there/report.html\n", "")
    assert "2 networks: gru, copy" in (weights / "there" / "report.html").read_text()
    for words, message in (
        ("gru.pt copy.pt keys.pt", "keys.pt is not recognised"),
        ("gru.pt copy.pt --inputs wide.npy", "gru: inputs have shape (runs, steps, 3)"),
        ("gru.pt gru.pt", "2 networks need as many different names, but gru, gru came"),
        ("gru.pt", "a comparison takes two networks at least, but 1 source came"),
    ):
        code, out, err = run("compare", *words.split())
        assert code == 2 and out == "" and err.count("\n") == 1 and message in err


def test_a_spent_budget_is_exit_4_with_a_page_that_says_so(run, weights):
    code, out, err = run("report", "gru.pt", "--budget", 1e-6, "--out", "there")
    assert code == 4 and out == "there/report.html\n"
    assert "interp: out of time, so not whole: fixed points, " in err
    assert "ran out of time" in (weights / "there" / "report.html").read_text()


def test_verify_proves_a_report_again_and_refuses_a_changed_one(run, weights):
    assert run("report", "gru.pt", "--out", "there")[0] == 0
    code, out, err = run("verify", "there/report.html")
    assert (code, err) == (0, "") and out.startswith("proofs of the fixed points: ")
    code, out, _ = run("verify", "there", "--json")
    first = json.loads(out)[0]
    assert code == 0 and first["confirmed"] == first["claims"] >= 1
    numbers = json.loads((weights / "there" / "numbers.json").read_text())
    proofs = next(finding for finding in numbers["findings"] if finding["title"] == "proofs of the fixed points")
    proofs["radii"]["values"][0] = 1e-17
    (weights / "there" / "numbers.json").write_text(json.dumps(numbers))
    code, out, err = run("verify", "there")
    assert code == 3 and err.endswith("proofs are refused\n")
    code, _, err = run("verify", "nowhere")
    assert code == 2 and "no numbers.json" in err


def test_a_failed_check_is_exit_3_and_names_the_first(run, monkeypatch):
    from case_studies import flip_flop_memory
    from interp.claims import Row
    from interp.page import Report

    row = Row("points", 27, "table 1", 26, 0, "a count")
    monkeypatch.setattr(
        type(flip_flop_memory.study),
        "run",
        lambda self, scale, folder, hub, data: Report("short", (), (row,)).written(folder),
    )
    code, out, err = run("reproduce", "flip_flop_memory", "--out", "there")
    assert code == 3 and out == "there/report.html\n"
    assert err == "interp: 1 failed or different, the first: points: 26, the claim is 27\n"


def test_our_own_faults_are_exit_1_and_interruptions_130(run, weights, monkeypatch):
    import interp.plans

    def fails(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(interp.plans, "report", fails)
    assert run("report", "gru.pt") == (
        1,
        "",
        "interp: RuntimeError: two lines (our fault; interp --debug ... shows where)\n",
    )
    with pytest.raises(RuntimeError, match="two"):
        run("--debug", "report", "gru.pt")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(interp.plans, "report", interrupted)
    code, _, err = run("report", "gru.pt")
    assert code == 130 and "Traceback" not in err


def test_cases_and_version(run):
    code, out, _ = run("cases")
    assert code == 0 and "flip_flop_memory\tThree-bit flip-flop: is the memory a fixed point?\n" in out
    assert [line.split("\t")[0] for line in out.splitlines()] == list(case_studies.names())
    assert "Sussillo" in json.loads(run("cases", "--json")[1])["flip_flop_memory"]["citation"]
    assert run("--version")[:2] == (0, f"interp-dynamics {__version__}\n")


def test_help_is_cheap():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", "from interp.cli import main; main()", "--help"], capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "reproduce" in done.stdout
    # CPU time, not wall time, so that a busy machine does not matter; the aim of 0.4 s with a factor of two for slow ones
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.8


@pytest.fixture
def model(tmp_path):
    """A folder with a transformer of three blocks and five texts for it."""
    from tests.tiny import tiny, tokens

    tiny("gpt2").save_pretrained(tmp_path / "model")
    np.save(tmp_path / "ids.npy", tokens(5, 9))
    return tmp_path


def test_capture_fills_a_store_says_its_bytes_and_goes_on(run, model):
    words = [
        "capture",
        "model",
        "--text",
        "ids.npy",
        "--out",
        "a.zarr",
        "--sites",
        "resid_pre,resid_post",
        "--dtype",
        "bfloat16",
    ]
    code, out, err = run(*words, "--shard", "0/2", "--positions", "0,-1", "--batch-tokens", 9)
    # 6 sites of 10 states of 32 units of two bytes; 10 states in two chunks of 8 passes would be 16
    assert (code, out) == (
        0,
        "a.zarr\n",
    ) and "6 sites, 10 states of 5 texts, bfloat16: 3,840 bytes in 1 chunk, 0 of" in err
    assert "0 of 1 chunks are there and stay good; other shards, or the same command again, do the rest" in err
    code, out, _ = run(*words, "--shard", "1/2", "--positions", "0,-1", "--batch-tokens", 9, "--json")
    assert code == 0 and json.loads(out)["committed"] == 1 and json.loads(out)["were_there"] == 0
    assert "1 of them there already" in run(*words, "--positions", "0,-1", "--batch-tokens", 9)[2]
    found = interp.open_store("a.zarr").read("blocks.2.resid_post")
    assert found.shape == (10, 32) and found.position.values.tolist() == [0, 8] * 5


def test_an_interrupted_capture_says_what_stays(run, model, monkeypatch):
    import interp.progress

    def interrupted(states, total):
        yield next(iter(states))
        raise KeyboardInterrupt

    words = ["capture", "model", "--text", "ids.npy", "--out", "a.zarr", "--batch-tokens", 1, "--longest", 4]
    np.save("ids.npy", np.arange(200).reshape(50, 4) % 50)
    with monkeypatch.context() as patched:
        patched.setattr(interp.progress, "meter", lambda title: interrupted)
        code, out, err = run(*words)
    assert (code, out) == (130, "") and re.search(
        r"[1-9]\d* of 7 chunks are there and stay good; the same command", err
    )
    assert run(*words)[0] == 0
    assert interp.open_store("a.zarr").committed.all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "2"], "--shard is i/N such as 0/4, not '2'"),
        (["--shard", "4/4"], "i from 0 to N - 1, not (4, 4)"),
        (["--positions", "first"], "--positions is all, last, or 0,-1, not 'first'"),
        (["--dtype", "nn"], "--dtype is float32, float16 or bfloat16, not 'nn'"),
        (["--dtype", "float64"], "kept as float32, float16, bfloat16, not float64"),
        (
            ["--sites", "resid_mid,nowhere"],
            "has no site 'nowhere'; its sites are blocks.k. and one of resid_pre, attn_out",
        ),
        (["--device", "cuda:7"], "device 'cuda:7' cannot be used here"),
    ],
)
def test_bad_options_of_capture_are_one_line_and_exit_2(run, model, words, message):
    code, out, err = run("capture", "model", "--text", "ids.npy", "--out", "a.zarr", *words)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err
