import shutil
import socket
import time

import pytest
import torch
from huggingface_hub import constants

import interp
from hooks.errors import LoadError
from hooks.pretrained import is_pretrained, pretrained, tokenizer
from tests.tiny import NAMES, tiny, tokens


@pytest.fixture
def no_network(monkeypatch):
    """Every attempt to connect or to look up an address fails, and is listed."""
    tried = []

    def refused(*args, **options):
        tried.append(args[:2])
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tried


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_folder_is_the_model_and_nothing_is_fetched(name, tmp_path, no_network):
    model = tiny(name)
    model.save_pretrained(tmp_path / name)
    network = interp.load(tmp_path / name)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in network.module.state_dict().items())
    with torch.no_grad():
        # fused attention in place of the eager one rounds otherwise
        torch.testing.assert_close(network.module(tokens(1, 6)).logits, model(tokens(1, 6)).logits, atol=1e-6, rtol=0)
    assert type(network.module) is type(model) and not network.module.training and no_network == []
    assert interp.load(str(tmp_path / name)).source == str(tmp_path / name)


def test_a_model_in_memory_is_taken_as_it_is(no_network):
    model = tiny("gpt2")
    assert interp.load(model).module is model and no_network == []
    training = tiny("gpt2").train()
    copied = interp.load(training).module
    assert copied is not training and training.training and not copied.training
    with pytest.raises(
        LoadError, match=r"GPT2LMHeadModel is a stack of blocks, whose map needs a text: interp\.residual"
    ):
        interp.load(model).dynamics()


def test_an_id_without_network_gives_one_line_at_once_after_one_look(no_network, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    start = time.perf_counter()
    with pytest.raises(
        LoadError, match=r"no folder nobody/nothing, nor .* in the local cache .* huggingface\.co cannot be reached"
    ) as said:
        interp.load("nobody/nothing")
    # the library alone took 23 s of retries; what remains is the import of transformers
    assert time.perf_counter() - start < 10 and "\n" not in str(said.value) and len(no_network) == 1
    monkeypatch.setenv("HTTPS_PROXY", "http://gate.invalid:3128")
    with pytest.raises(LoadError, match=r"gate\.invalid cannot be reached"):
        interp.load("nobody/nothing")
    assert len(no_network) == 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LoadError, match="HF_HUB_OFFLINE forbids"):
        interp.load("nobody/nothing")
    assert len(no_network) == 2


def test_an_id_in_the_local_cache_needs_no_network(no_network, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--somebody--small"
    tiny("gpt2").save_pretrained(repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert type(interp.load("somebody/small").module).__name__ == "GPT2LMHeadModel" and no_network == []


def test_folders_that_are_no_whole_model_are_refused(tmp_path, no_network):
    folder = tmp_path / "model"
    tiny("gpt2").save_pretrained(folder)
    for broken, said in (("cut", "cannot be read by transformers"), ("gone", "no file named|cannot be read")):
        shutil.copytree(folder, tmp_path / broken)
        weights = tmp_path / broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000]) if broken == "cut" else weights.unlink()
        with pytest.raises(LoadError, match=said) as error:
            pretrained(tmp_path / broken)
        assert "\n" not in str(error.value)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        config.replace('"num_hidden_layers": 3', '"num_hidden_layers": 4').replace('"n_layer": 3', '"n_layer": 4')
    )
    with pytest.raises(LoadError, match=r"holds no weights for transformer\.h\.3"):
        pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "of_its_own", "auto_map": {"AutoConfig": "code.Config"}}')
    (folder / "code.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(LoadError, match=r"brings code of its own; trust=True"):
        pretrained(folder)
    assert no_network == []


def test_a_saved_tokenizer_is_read_and_nothing_is_fetched(tmp_path, no_network):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"one": 0, "two": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tiny("gpt2").save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(tmp_path)
    assert tokenizer(tmp_path)("two one three")["input_ids"] == [1, 0, 2] and no_network == []
    with pytest.raises(LoadError, match="cannot be reached"):
        tokenizer("nobody/nothing")


def test_what_can_only_be_an_id():
    assert all(map(is_pretrained, ("gpt2", "EleutherAI/pythia-70m", "a/b.c-1")))
    assert not any(map(is_pretrained, ("weights.pt", "runs/net.safetensors", "a/b/c", "/gpt2", "./gpt2", "../x", "")))
    with pytest.raises(LoadError, match=r"there is no file runs/net\.pt"):
        interp.load("runs/net.pt")
