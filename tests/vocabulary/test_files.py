import json

import pytest

from catseg.vocabulary import load_vocabulary

TWO = ["sofa", ("cat", "kitten")]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def classes(path):
    return [words if len(words) > 1 else words[0] for words in load_vocabulary(str(path)).synonyms]


@pytest.mark.parametrize("name", ["a.txt", "a.names", "A.TXT"])
@pytest.mark.parametrize(
    "content",
    [
        "sofa\ncat, kitten\n",
        "sofa\ncat | kitten",
        "sofa\n cat;kitten \n\n",
        "# mine\n\n  # indented\nsofa # a seat\ncat,kitten",
        "// mine\nsofa\n // and\ncat, kitten",
        "- sofa\n- cat, kitten",
        "* sofa\n\u2022 cat, kitten",
        "0 sofa\n1 cat, kitten",
        "1: sofa\n2: cat, kitten",
        "1. sofa\n2. cat, kitten",
        "0,sofa\n1,cat|kitten",
        "0 - sofa\n1 - cat | kitten",
        "0\tsofa\n1\tcat, kitten",
        "1\tcat, kitten\n0\tsofa",
        "sofa\t0\ncat | kitten\t1",
        "# ADE20K\nIdx\tRatio\tName\n1\t0.2\tsofa\n2\t0.1\tcat, kitten",
        "sofa\r\ncat, kitten\r\n",
        "sofa\rcat, kitten",
        "\ufeffsofa\ncat, kitten",
        "sofa\ncat, kitten\n".encode("utf-16"),
        "\ufeffsofa\ncat, kitten\n".encode("utf-16-be"),
    ],
)
def test_lines(write, name, content):
    assert classes(write(name, content)) == TWO


@pytest.mark.parametrize(
    "content", ["50 cent coin\n20 cent coin", "1 euro coin\n1 dollar bill", "3 stars\nsofa", "7-up\n3.5 inch disk"]
)
def test_numbers_that_belong_to_names_stay(write, content):
    assert classes(write("a.txt", content)) == content.split("\n")


@pytest.mark.parametrize(
    "content",
    [
        "name\nsofa\ncat|kitten",
        'sofa\n"cat, kitten"',
        'id,name\n0,sofa\n1,"cat, kitten"',
        'Class Name,Index\nsofa,1\n"cat, kitten",2',
        "name,id\ncat|kitten,1\nsofa,0",
        ",class\n0,sofa\n1,cat|kitten",
        "#,Label\n0,sofa\n1,cat|kitten",
        "class,name\n0,sofa\n1,cat|kitten",
        "class_id;class_name\n0;sofa\n1;cat|kitten",
        "Idx,Ratio,Train,Val,Stuff,Name\n1,0.15,11664,1172,1,sofa\n2,0.11,6046,612,1,cat;kitten",
        'name,synonyms\nsofa,\ncat,"kitten, cat"',
        "name,r,g,b\nsofa,1,2,3\ncat|kitten,4,5,6",
        "sofa,1,2,3\ncat|kitten,4,5,6",
        "0,sofa\n1,cat|kitten",
        "sofa,0\ncat|kitten,1",
        "sofa,\r\ncat|kitten,\r\n",
        "# made by hand, in part\n\nsofa\ncat|kitten",
        "name\tid\nsofa\t0\ncat, kitten\t1",
    ],
)
def test_tables(write, content):
    assert classes(write("a.csv", content)) == TWO


def test_tabs_separate_columns(write):
    assert classes(write("a.tsv", "sofa\ncat, kitten")) == TWO
    assert classes(write("b.tsv", "id\tname\n0\tsofa\n1\tcat, kitten")) == TWO


OBJECTS = [
    {"id": 1, "name": "cat", "synonyms": ["cat", "kitten"], "supercategory": "animal"},
    {"id": 0, "name": "sofa", "color": "#ff0000"},
]


@pytest.mark.parametrize(
    "content",
    [
        ["sofa", "cat, kitten"],
        ["sofa", ["cat", "kitten"]],
        {"classes": ["sofa", "cat | kitten"], "version": 3},
        {"names": {"1": "cat, kitten", "0": "sofa"}, "nc": 2},
        {"1": "sofa", "2": "cat, kitten"},
        {"cat, kitten": 1, "sofa": 0},
        {"id2label": {"0": "sofa", "1": "cat, kitten"}, "label2id": {"sofa": 0, "cat, kitten": 1}},
        {"images": [], "annotations": [], "categories": OBJECTS},
        [{"name": "sofa"}, {"name": "cat", "synonyms": ["kitten"]}],
        {"labels": [{"label": "sofa"}, {"label": "cat | kitten"}]},
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])  # JSON is YAML
def test_structured_files(write, content, suffix):
    assert classes(write(f"a{suffix}", content)) == TWO


def test_yaml(write):
    assert classes(write("a.yaml", "path: ../data\nnc: 2\nnames:\n  1: cat, kitten\n  0: sofa\n")) == TWO
    assert classes(write("b.yaml", "names: [sofa, 'cat, kitten']\n")) == TWO


def test_gaps_between_the_ids_of_objects_are_a_warning(write, caplog):
    assert classes(write("a.json", [{"id": 5, "name": "cat"}, {"id": 2, "name": "sofa"}])) == ["sofa", "cat"]
    assert "numbers its 2 classes from 2 to 5: class 0 is the first of them" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            "sand, grass, water\n",
            r"a\.txt holds one class with 3 synonyms: write one class per line, or .sand",
        ),
        ("a.txt", "sand;grass", "one class with 2 synonyms"),
        ("a.txt", "\u6c99\uff0c\u8349\n", "one class with 2 synonyms"),
        ("a.names", "sand,grass,water\n", "one class with 3 synonyms"),
        ("a.json", ["cat, kitten"], "one class with 2 synonyms: write one class per entry"),
        ("a.csv", "sand,grass,water\n", r"a\.csv has 3 columns.*write one class per line"),
        ("a.csv", "sand,sable\nwater,eau\n", "not clear which one holds the names"),
        ("a.csv", "sand\nsofa, couch\n", "line 2 of .*a.csv has 2 cells, line 1 has 1: .*double quotes"),
        ("a.csv", 'name\n"sand\n', "line 2 .* quote in the wrong place"),
        ("a.csv", "id,name\n0,sand\n2,water\n", "from 0 to 2: number them from 0 or 1 without gaps"),
        ("a.csv", "id,name\n0,sand\n0,water\n", "gives the number 0 to two classes"),
        ("a.csv", "id,name\n", "no class names"),
        ("a.txt", "cat,12,40\ndog,3,4\n", r"line 1 of .* looks like a row of a table"),
        ("a.txt", "0: sand\n2: water\n", "from 0 to 2"),
        ("a.txt", "0 sand\n2 water\n", "from 0 to 2"),
        ("a.txt", "101: sand\n102: water\n", "from 101 to 102"),
        ("a.txt", "sand\nwater, too | old\n", "line 2 of .* has both ',' and '|'"),
        ("a.txt", "sofa\n\ncat\nsofa\n", r"line 4.*a\.txt.*line 1"),
        ("a.txt", "\n \n# only a comment\n", r"a\.txt.*no class names"),
        ("a.txt", b"sand\ncaf\xe9\n", r"a\.txt is not UTF-8 text \(byte 0xE9 in line 2\); if it is Latin-1 .*iconv"),
        ("a.txt", "sand\nwater\n".encode("utf-16-le"), "is not text: .*save UTF-16 as UTF-8|UTF-16"),
        ("a.txt", "sand\ncaf\ufffd\n", r"line 2 .*U\+FFFD"),
        ("a.json", b'["sofa",\n "cat"', r"a\.json.*line 2.*column 7"),
        ("a.json", "", r"a\.json is not JSON"),
        ("a.json", {"shapes": [{"label": "cat"}]}, 'under "classes", "names"'),
        ("a.json", {"sofa": 1.5}, 'under "classes", "names"'),
        ("a.json", "7", r"a\.json.*list"),
        ("a.json", '"sofa"', r"a\.json.*list"),
        ("a.json", ["sofa", 3], r"entry 2.*a\.json.*int"),
        ("a.json", ["sofa", []], r"entry 2.*a\.json.*list"),
        ("a.json", {"classes": ["a"], "names": ["b"]}, 'both "classes" and "names"'),
        ("a.json", '{"0": "a", "0": "b"}', "the key '0' twice"),
        ("a.json", {"0": "a", "2": "b"}, "from 0 to 2"),
        ("a.json", {"1": "a", "01": "b"}, "the number 1 to two classes"),
        ("a.json", [{"name": "a"}, "b"], 'entry 2 .* "name"'),
        ("a.json", [{"name": "a", "id": 0}, {"name": "b"}], '"id" for all classes, or for none'),
        ("a.json", [{"name": "a", "id": "x"}], "whole number"),
        ("a.json", [{"name": "a", "synonyms": "b"}], 'a list of "synonyms"'),
        ("a.yaml", "names: [a\n", r"a\.yaml is not YAML: .*line 2"),
        ("a.yaml", "names:\n  0: a\n  0: b\n", "the key '0' twice"),
        ("a.yaml", "- a\n- no\n", "entry 2 .*bool"),
        ("a.yaml", "", "must hold a list"),
    ],
)
def test_bad_files_are_refused_with_file_and_place(write, name, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_vocabulary(write(name, content))
    assert "\n" not in str(caught.value)
