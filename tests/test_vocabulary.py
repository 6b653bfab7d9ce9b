import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catseg.vocabulary import load_vocabulary, shipped_vocabularies, synonyms

ODD_NAMES = [
    "naïve café",
    "猫",
    "🐈 on a 🛋",
    'a "quoted" name',
    "it's",
    "100%",
    "C++",
    "x" * 500,
    "a,b",
    "<|endoftext|>",
]

spellings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=",|"), min_size=1).filter(str.strip)
classes = st.lists(
    st.lists(spellings, min_size=1, max_size=3).map(", ".join), min_size=1, unique_by=lambda n: normal(n).lower()
)


def normal(name):
    return " ".join(name.split())


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
def test_shipped_vocabularies_are_the_published_lists(name, count, digest, some):
    names = load_vocabulary(name)
    assert len(names) == count
    assert {index: names[index] for index in some} == some
    assert hashlib.sha256("\n".join(names).encode()).hexdigest().startswith(digest)


def test_every_shipped_vocabulary_loads_and_is_listed():
    names = [f"ade20k_{n}" for n in (150, 847)] + [f"pascal_context_{n}" for n in (59, 459)]
    assert {*names, "coco_stuff_171", "pascal_voc_20", "pascal_voc_20b"} <= set(shipped_vocabularies())
    assert all(load_vocabulary(name) for name in shipped_vocabularies())


def test_synonyms_stay_in_the_name_and_split_on_request():
    assert load_vocabulary(["sofa, couch", "cat"]) == ["sofa, couch", "cat"]
    assert synonyms("sofa, couch") == ["sofa", "couch"]
    assert synonyms("cat") == ["cat"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sofa, night sky,cat", ["sofa", "night sky", "cat"]),
        ("sofa | couch, cat", ["sofa, couch", "cat"]),
        ("  night   sky ", ["night sky"]),
        ("my_class, other", ["my_class", "other"]),
    ],
)
def test_command_line(line, expected):
    assert load_vocabulary(line) == expected


def test_a_class_with_an_underscore_is_told_from_a_vocabulary():
    with pytest.raises(ValueError, match=r'called .night_sky.; there are ade20k_150.* write "night sky"'):
        load_vocabulary("night_sky")


def test_odd_names_pass(tmp_path):
    assert load_vocabulary(ODD_NAMES) == ODD_NAMES
    text = tmp_path / "odd.txt"
    text.write_text("\n".join(f"  {name}\t" for name in ODD_NAMES), encoding="utf-8")
    assert load_vocabulary(text) == ODD_NAMES


@settings(max_examples=50)
@given(names=classes)
def test_files_give_back_what_was_written(tmp_path_factory, names):
    expected = [normal(name) for name in names]
    folder = tmp_path_factory.mktemp("vocabulary")
    as_list, as_object = folder / "list.json", folder / "object.JSON"
    as_list.write_text(json.dumps(names), encoding="utf-8")
    as_object.write_text(json.dumps({"name": "mine", "classes": names}, ensure_ascii=False), encoding="utf-8-sig")
    as_text = folder / "names.txt"
    as_text.write_bytes("\r\n\n".join(expected).encode())
    assert load_vocabulary(names) == expected
    assert [load_vocabulary(path) for path in (as_list, as_object, as_text)] == [expected] * 3
    assert load_vocabulary(str(as_list)) == expected
    assert load_vocabulary(expected) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "no class names"),
        ("", "empty"),
        ("sofa,, cat", "name 2.*empty"),
        (["sofa", " \t"], "entry 2.*empty"),
        (["sofa", "Sofa"], "entry 2.*repeats.*entry 1"),
        (["sofa", None], "entry 2.*NoneType"),
        (["sofa,"], "empty synonym"),
        ([", sofa"], "empty synonym"),
        ("sofa |, cat", "empty synonym"),
        (["\ud800"], "not valid Unicode"),
        (b"sofa", "bytes"),
        ({"sofa": 1}, "dict"),
        (7, "int"),
        ("ade20k-150", "did you mean ade20k_150"),
        ("pascal_99", "there are ade20k_150"),
    ],
)
def test_bad_vocabularies_are_refused_with_a_reason(source, message):
    with pytest.raises(ValueError, match=message):
        load_vocabulary(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'["sofa",\n "cat"', r"a\.json.*line 2.*column 7"),
        ("a.json", b'{"names": ["sofa"]}', r'a\.json.*"classes"'),
        ("a.json", b'"sofa"', r"a\.json.*list"),
        ("a.json", b'["sofa", 3]', r"entry 2.*a\.json.*int"),
        ("a.txt", b"sofa\n\ncat\nsofa\n", r"line 4.*a\.txt.*line 1"),
        ("a.txt", b"\n \n", r"a\.txt.*no class names"),
        ("a.txt", b"caf\xe9\n", r"a\.txt.*UTF-8"),
    ],
)
def test_bad_files_are_refused_with_file_and_place(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_vocabulary(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        load_vocabulary(str(tmp_path / "nowhere.json"))
    with pytest.raises(ValueError, match=r"must be a file that ends in \.json or \.txt"):
        load_vocabulary(tmp_path / "names.csv")
