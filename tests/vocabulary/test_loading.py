import hashlib
import json
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.vocabulary import Vocabulary, load_vocabulary, shipped_vocabularies

ODD_NAMES = [
    "naïve café",
    "猫",
    "🐈 on a 🛋",
    'a "quoted" name',
    "it's",
    "100%",
    "C++",
    "x" * 500,
    "7",
    "👩‍🚀",
    "St. Bernard",
]

words = st.text(st.characters(categories=["L", "N"]), min_size=1).filter(lambda word: not word[0].isdecimal())
spellings = st.lists(words, min_size=1, max_size=2).map(" ".join)
some_names = st.lists(spellings, min_size=3, max_size=6, unique_by=lambda name: normal(name).casefold())


def normal(name):
    return unicodedata.normalize("NFC", " ".join(name.split()))


@pytest.mark.parametrize(
    ("name", "count", "digest", "some"),
    [
        ("ade20k_150", 150, "f9dbd8a75a0722c9", {0: "wall", 12: "person", 44: "chest of drawers", 149: "flag"}),
        (
            "ade20k_847",
            847,
            "ee311c5f3b780a16",
            {
                0: "wall",
                1: "building, edifice",
                84: "case, display case, showcase, vitrine",
                846: "adding machine, totalizer, totaliser",
            },
        ),
        ("coco_stuff_171", 171, "8ea44449837dceb3", {0: "person", 80: "banner", 170: "wood"}),
        ("pascal_context_59", 59, "1c0546d54360b603", {0: "aeroplane", 49: "diningtable", 58: "wood"}),
        ("pascal_context_459", 459, "f22a02ac1b8419bc", {0: "accordion", 430: "unknown", 458: "wool"}),
        ("pascal_voc_20", 20, "7d877f185c807bc5", {0: "aeroplane", 14: "person", 19: "tvmonitor"}),
        ("pascal_voc_20b", 59, "245feb60aa05bd70", {19: "tvmonitor", 20: "bag", 58: "wood"}),
    ],
)
def test_shipped_vocabularies_are_the_published_lists(name, count, digest, some, caplog):
    vocabulary = load_vocabulary(name)
    assert len(vocabulary) == count
    assert {index: vocabulary[index] for index in some} == some
    assert hashlib.sha256("\n".join(vocabulary).encode()).hexdigest().startswith(digest)
    assert vocabulary.origin == f"the shipped vocabulary {name}"
    assert not caplog.text  # that classes share synonyms is as published


def test_every_shipped_vocabulary_loads_and_is_listed():
    names = [f"ade20k_{n}" for n in (150, 847)] + [f"pascal_context_{n}" for n in (59, 459)]
    assert {*names, "coco_stuff_171", "pascal_voc_20", "pascal_voc_20b"} <= set(shipped_vocabularies())
    assert all(load_vocabulary(name) for name in shipped_vocabularies())


@pytest.mark.parametrize(
    "entry",
    [
        "sofa, couch",
        "sofa,couch",
        "sofa | couch",
        "sofa;couch",
        "sofa\uff0ccouch",
        "sofa\uff5ccouch",
        ("sofa", "couch"),
        ["sofa", "couch"],
    ],
)
def test_an_entry_of_a_list_is_a_class_however_its_synonyms_are_separated(entry):
    vocabulary = load_vocabulary([entry, "cat"])
    assert vocabulary == ["sofa, couch", "cat"]
    assert vocabulary.synonyms == (("sofa", "couch"), ("cat",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sofa, night sky,cat", ["sofa", "night sky", "cat"]),
        ("sofa | couch, cat", [("sofa", "couch"), "cat"]),
        ("cat, kitten", ["cat", "kitten"]),
        ("cat | kitten", [("cat", "kitten")]),
        ("  night   sky ", ["night sky"]),
        ("my_class, other", ["my_class", "other"]),
        ("sand;grass; water", ["sand", "grass", "water"]),
        ("sand\uff0cgrass", ["sand", "grass"]),
        ("\u6c99\u3001\u8349\uff5c\u8349\u5730", ["\u6c99", ("\u8349", "\u8349\u5730")]),
        ("sand\uff1bgrass", ["sand", "grass"]),
        ("sand\tgrass", ["sand", "grass"]),
        ("sand\ngrass\r\nnight sky\n", ["sand", "grass", "night sky"]),
        ("# two\nsand | sable\ngrass", [("sand", "sable"), "grass"]),
        ("sand,\n  grass,\n  water", ["sand", "grass", "water"]),
        ('"sand", "night sky"', ["sand", "night sky"]),
        ("'sand', 'night sky'", ["sand", "night sky"]),
        ("\u201csand\u201d, \u201cgrass\u201d", ["sand", "grass"]),
        ('"sofa, couch", cat', [("sofa", "couch"), "cat"]),
        ('"sofa, couch"; cat', [("sofa", "couch"), "cat"]),
        ("['sofa', ('cat', 'kitten')]", ["sofa", ("cat", "kitten")]),
        ('("sofa", "cat")', ["sofa", "cat"]),
        ('24" screen, cat', ['24" screen', "cat"]),
        ('"night_sky"', ["night_sky"]),
        ('"tv/monitor"', ["tv/monitor"]),
    ],
)
def test_typed_lines(line, expected):
    assert load_vocabulary(line).synonyms == load_vocabulary(expected).synonyms


@pytest.mark.parametrize(
    "source", [["cat, kitten"], ["cat;kitten"], '"cat, kitten"', "['cat, kitten']", ["cat\uff0ckitten"]]
)
def test_a_sole_entry_with_commas_could_mean_two_things(source):
    with pytest.raises(ValueError, match=r'one class with 2 synonyms: write one class per \w+, or "cat \| kitten" if'):
        load_vocabulary(source)
    assert load_vocabulary(["cat | kitten"]) == load_vocabulary([("cat", "kitten")]) == ["cat, kitten"]


def test_one_class_that_may_be_several_is_a_warning(caplog):
    load_vocabulary("sofa")
    assert caplog.text == ""
    load_vocabulary("sofa / couch / cat")
    load_vocabulary(["sofa and cat"], origin="stuff_classes of mine")
    assert "holds one class, 'sofa / couch / cat': if these are several" in caplog.text
    assert "stuff_classes of mine holds one class, 'sofa and cat'" in caplog.text


def test_synonyms_that_classes_share_are_a_warning(caplog):
    assert len(load_vocabulary(["bank, shore", "Bank, office", "sea"])) == 3
    assert "several classes with the same synonym: 'bank'" in caplog.text


def test_a_vocabulary_is_returned_as_it_is():
    vocabulary = Vocabulary([("cat", "kitten")])
    assert load_vocabulary(vocabulary) is vocabulary


def test_a_class_with_an_underscore_is_told_from_a_vocabulary():
    with pytest.raises(ValueError, match=r'called .night_sky.; there are ade20k_150.* write "night sky"'):
        load_vocabulary("night_sky")


def test_odd_names_pass(tmp_path):
    assert load_vocabulary(ODD_NAMES) == ODD_NAMES
    assert load_vocabulary(", ".join(ODD_NAMES)) == ODD_NAMES
    text = tmp_path / "odd.txt"
    text.write_text("\n".join(f"  {name}\t" for name in ODD_NAMES), encoding="utf-8")
    assert load_vocabulary(text) == ODD_NAMES


@settings(max_examples=50)
@given(names=some_names)
def test_list_line_and_files_mean_the_same(tmp_path_factory, names):
    expected = ((normal(names[0]), normal(names[1])), *((normal(name),) for name in names[2:]))
    entries = [" | ".join(names[:2]), *names[2:]]
    folder = tmp_path_factory.mktemp("vocabulary")
    as_list, as_object = folder / "list.json", folder / "object.JSON"
    as_list.write_text(json.dumps([names[:2], *names[2:]]), encoding="utf-8")
    as_object.write_text(json.dumps({"name": "mine", "classes": entries}, ensure_ascii=False), encoding="utf-8-sig")
    as_text, as_table = folder / "names.txt", folder / "names.csv"
    as_text.write_bytes("\r\n\n".join(entries).encode())
    as_table.write_text(
        "\n".join(["id,name", *(f'{k},"{entry}"' for k, entry in enumerate(entries))]), encoding="utf-8"
    )
    for source in (entries, [tuple(names[:2]), *names[2:]], as_list, str(as_object), as_text, as_table):
        assert load_vocabulary(source).synonyms == expected
    assert load_vocabulary(", ".join(entries)).synonyms == expected or len(entries) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "no class names"),
        ("", "no class names"),
        ("sofa,, cat", "name 2.*empty"),
        ("sofa, cat,", "name 3.*empty"),
        (["sofa", " \t"], "entry 2.*empty"),
        (["sofa", ()], "entry 2.*tuple"),
        (["sofa", "Sofa"], "entry 2.*repeats.*entry 1"),
        (["straße", "STRASSE"], "repeats"),
        (["caf\u00e9", "cafe\u0301"], "repeats"),
        (["night sky", "night \t sky"], "repeats"),
        (["cat, kitten", ("kitten", "cat")], "repeats"),
        (["cat, Cat", "dog"], "the same synonym twice"),
        (["sofa", None], "entry 2.*NoneType"),
        (["sofa", ("a", 1)], "entry 2.*int"),
        (["sofa", ("a, b", "c")], "entry 2.*separator within a synonym"),
        (["sofa,"], "empty synonym"),
        ([", sofa"], "empty synonym"),
        ("sofa |, cat", "empty synonym"),
        (["sofa, couch | settee", "cat"], "entry 1 .*has both ',' and '|'"),
        (["sofa\ncouch", "cat"], "entry 1 .*line break"),
        ("sofa, couch; cat", "separates by both ',' and ';': write ','"),
        ("sofa, couch\ncat", r"separates by both ',' and '\\n'"),
        ('sofa, "cat', "quote"),
        ("'sofa, cat'", "opens a quote"),
        ("[sofa, cat]", "no Python list"),
        (["---", "cat"], "nothing but punctuation"),
        (["...", "\u3002"], "nothing but punctuation"),
        (["<|endoftext|>", "cat"], "nothing but punctuation"),
        (["\ud800", "cat"], r"U\+D800"),
        (["cat\u200b", "dog"], r"U\+200B"),
        (["cat\x07", "dog"], r"U\+0007"),
        (["names.txt", "cat"], "entry 1 .*name of a vocabulary"),
        ("cat, ade20k_150", "name 2 .*name of a vocabulary"),
        (b"sofa", "bytes"),
        ({"sofa": 1}, "dict"),
        ({"sofa"}, "set"),
        (7, "int"),
        ("ade20k-150", "did you mean ade20k_150"),
        ("pascal_99", "there are ade20k_150"),
    ],
)
def test_bad_vocabularies_are_refused_with_a_reason(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_vocabulary(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nowhere.json", "nowhere.CSV", "nowhere.lst", "some/where", "~/nowhere", "my names.txt"]
)
def test_what_looks_like_a_file_is_no_class(name):
    with pytest.raises(FileNotFoundError, match=re.escape(name.removeprefix("~"))):
        load_vocabulary(name)


def test_what_exists_is_no_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.lst").write_text("sofa\ncat\n")
    (tmp_path / "sand").write_text("sofa\ncat\n")
    (tmp_path / "grass").mkdir()
    (tmp_path / "water.txt").mkdir()
    for source in ("names.lst", tmp_path / "names.lst", "sand"):
        with pytest.raises(
            ValueError, match=r"is a file, but a vocabulary must end in \.txt, .* or \.yml; .* in quotes"
        ):
            load_vocabulary(source)
    for source in ("grass", "water.txt", tmp_path / "grass"):
        with pytest.raises(ValueError, match="is a folder, expected a vocabulary file"):
            load_vocabulary(source)
    assert load_vocabulary('"sand"') == ["sand"]
    assert load_vocabulary("sand, grass") == ["sand", "grass"]


def test_a_file_may_have_commas_in_its_name_and_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sofa, cat.txt").write_text("sofa\ncat\n")
    assert load_vocabulary(str(tmp_path / "sofa, cat.txt")) == load_vocabulary("~/sofa, cat.txt") == ["sofa", "cat"]
    assert load_vocabulary("~/sofa, cat.txt").origin == f"the vocabulary {tmp_path}/sofa, cat.txt"
