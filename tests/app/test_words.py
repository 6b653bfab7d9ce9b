import pytest
from detectron2.modeling import build_model

from catseg.api.model import CATSegModel
from catseg.app.limits import Limits
from catseg.app.words import read_words, shipped_words
from catseg.errors import InputError
from tests.tiny import tiny_config

LIMITS = Limits(names=5)


def read(text, reads_whole=None):
    return read_words(text, LIMITS, reads_whole)


@pytest.mark.parametrize(
    ("text", "synonyms"),
    [
        ("sofa, night sky, cat | kitten", (("sofa",), ("night sky",), ("cat", "kitten"))),
        ("sofa, ", (("sofa",),)),
        ("sofa |", (("sofa",),)),
        ("sofa\ncat\n", (("sofa",), ("cat",))),
        ('"a, b", c', (("a", "b"), ("c",))),
        ("['sofa', 'cat']", (("sofa",), ("cat",))),
    ],
)
def test_the_syntax_is_that_of_the_command_line(text, synonyms):
    found = read(text)
    assert found.classes.synonyms == synonyms
    assert found.notes == ()
    assert found.problem == ""
    assert found.required() is found.classes


@pytest.mark.parametrize("text", ["", " ,; \n", "|"])
def test_nothing_is_typed_yet(text):
    found = read(text)
    assert found.classes is None
    assert found.count == "0 names"
    with pytest.raises(InputError, match="no names"):
        found.required()


def test_repeated_names_are_left_out_with_a_note():
    found = read("sofa, cat | kitten, SOFA, kitten | cat")
    assert found.classes == ("sofa", "cat, kitten")
    assert found.count == "2 names"
    assert found.notes == (
        "name 3, “SOFA”, repeats name 1: left out",
        "name 4, “kitten, cat”, repeats name 2: left out",
    )


def test_long_names_are_cut_after_a_word_with_a_note():
    found = read("cat, one two three four | short", lambda name: len(name) <= 10)
    assert found.classes.synonyms == (("cat",), ("one two", "short"))
    assert found.notes == ("“one two three four” is longer than the model reads: cut to “one two”",)


def test_a_long_word_is_cut_within():
    assert read("abcdefgh", lambda name: len(name) <= 5).classes == ("abcde",)


def test_names_that_are_equal_when_cut_are_repeated():
    found = read("abcdef, abcdeg", lambda name: len(name) <= 5)
    assert found.classes == ("abcde",)
    assert len(found.notes) == 3


def test_cut_names_are_read_by_a_real_model(tmp_path):
    model = CATSegModel(build_model(tiny_config(tmp_path)), tiny_config(tmp_path))
    found = read_words("cat, " + "very " * 60 + "old cat, 猫" * 2, Limits(), model.module.text_encoder.reads_whole)
    assert len(found.notes) == 1
    model.encode_classes(found.classes, context=None)
    with pytest.raises(InputError, match="more tokens"):
        model.encode_classes([found.classes[1] + " very"], context=None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,,b", "empty name"),
        ("a, b; c", "separates by both"),
        ("a, !", "punctuation"),
        ("a, b, c, d, e, f", "6 names, this server takes 5"),
        ("a" * 2000, "2000 characters"),
        ("[" * 900, "no Python list|nested"),
        ("a, cat | cat", "same synonym twice"),
    ],
)
def test_problems_are_said(text, problem):
    found = read(text)
    with pytest.raises(InputError, match=problem):
        found.required()


def test_no_file_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("password\n")
    for text in ("secret.txt", str(tmp_path / "secret.txt"), "~", "ade20k_150"):
        assert "password" not in str(read(text))
    assert read("AC/DC").classes == ("AC/DC",)


def test_shipped_names():
    assert len(shipped_words("pascal_voc_20", Limits()).required()) == 20
    with pytest.raises(InputError, match="20 names, this server takes 5"):
        shipped_words("pascal_voc_20", LIMITS).required()
