import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hooks.errors import InputError
from interp.texts import tokens_of
from tests.tiny import tiny

WORDS = {"[?]": 0, "the": 1, "cat": 2, "sat": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a tokenizer of three words."""
    path = tmp_path_factory.mktemp("model")
    tiny("gpt2").save_pretrained(path)
    made = Tokenizer(models.WordLevel(WORDS, unk_token="[?]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[?]").save_pretrained(path)
    return path


def lists(rows):
    assert all(row.dtype == np.int64 for row in rows)
    return [row.tolist() for row in rows]


def test_lines_are_texts_and_blank_ones_are_none(folder, tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("the cat sat\n\n  \ncat dog\n")
    assert lists(tokens_of(file, folder)) == [[1, 2, 3], [2, 0]]
    assert lists(tokens_of(file, folder, longest=2)) == [[1, 2], [2, 0]]


def test_json_lines_hold_text_or_tokens(folder, tmp_path):
    file = tmp_path / "t.anything"
    file.write_text('{"text": "the\\ncat", "id": 7}\n\n{"tokens": [5, 6, 7]}\n')
    assert lists(tokens_of(file, folder)) == [[1, 2], [5, 6, 7]]


@pytest.mark.parametrize(
    ("ids", "found"), [([[4, 5], [6, 7]], [[4, 5], [6, 7]]), ([4, 5], [[4, 5]]), (np.uint8([[9]]), [[9]])]
)
def test_arrays_are_ids_whatever_they_are_called(tmp_path, ids, found):
    with (tmp_path / "ids").open("wb") as file:
        np.save(file, np.asarray(ids))
    assert lists(tokens_of(tmp_path / "ids", tmp_path / "no model is needed")) == found


def test_a_model_without_a_tokenizer_reads_ids_alone(tmp_path):
    tiny("gpt2").save_pretrained(tmp_path / "bare")
    file = tmp_path / "t.txt"
    file.write_text("the cat\n")
    with pytest.raises(InputError, match=r"no tokenizer came with .*bare, so texts cannot be read: give token ids"):
        tokens_of(file, tmp_path / "bare")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n \n", "holds no text"),
        ('{"text": "the"}\n{"texts": "cat"}\n', r'line 2 of .* is no object with "text", or with "tokens"'),
        ('{"text": "the"}\n{"text": \n', r"line 2 of .* is no JSON"),
        (json.dumps({"tokens": [1, True]}), r"line 1 of .* is no object"),
        (json.dumps({"tokens": []}), r"text 1 of .* has no tokens"),
        (b"\xff\xfe\x00", r"no text in UTF-8 \(byte 0\) and no \.npy"),
        (b"\x93NUMPY\x01", r"no \.npy array of numbers, or is cut short"),
    ],
)
def test_refusals_name_the_line(folder, tmp_path, content, message):
    file = tmp_path / "t.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        tokens_of(file, folder)


def test_refusals_of_arrays_and_paths(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"token ids are whole numbers .* float64 \(2, 3\)"):
        tokens_of(tmp_path / "x.npy", tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        tokens_of(tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="one token at least, not 0"):
        tokens_of(tmp_path / "x.npy", tmp_path, longest=0)
