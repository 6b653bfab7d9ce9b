import copy
import json
import pickle

from catseg.vocabulary import Vocabulary

PLACES = Vocabulary([("bank", "shore"), ("bank", "office"), "sky", ("sea", "ocean")], "a test")


def test_it_is_a_tuple_of_names_that_knows_synonyms():
    assert list(PLACES) == ["bank, shore", "bank, office", "sky", "sea, ocean"]
    assert PLACES.synonyms == (("bank", "shore"), ("bank", "office"), ("sky",), ("sea", "ocean"))
    assert PLACES.short_names == ("bank, shore", "bank, office", "sky", "sea")
    assert PLACES.first_synonyms() == ("bank", "bank", "sky", "sea")
    assert PLACES.origin == PLACES.first_synonyms().origin == "a test"
    assert (len(PLACES), PLACES[2], PLACES[-1:], PLACES.index("sky")) == (4, "sky", ("sea, ocean",), 2)
    assert json.loads(json.dumps(PLACES)) == list(PLACES)
    assert not Vocabulary()


def test_equality_is_that_of_the_names():
    same = Vocabulary([("cat", "kitten"), "dog"], "elsewhere")
    vocabulary = Vocabulary([("cat", "kitten"), "dog"])
    for other in (same, ("cat, kitten", "dog"), ["cat, kitten", "dog"]):
        assert vocabulary == other
        assert other == vocabulary
        assert (vocabulary != other) is False
    assert hash(vocabulary) == hash(same)
    assert vocabulary != Vocabulary(["cat", "kitten", "dog"])
    assert vocabulary != ["cat, kitten"]
    assert vocabulary != "cat, kitten"


def test_copies_and_pickles_keep_everything():
    for made in (pickle.loads(pickle.dumps(PLACES)), copy.deepcopy(PLACES), copy.copy(PLACES)):
        assert (type(made), made, made.synonyms, made.origin) == (Vocabulary, PLACES, PLACES.synonyms, PLACES.origin)


def test_it_prints_as_it_is_written():
    assert repr(Vocabulary(["sofa", ("cat", "kitten")])) == "Vocabulary(['sofa', ('cat', 'kitten')])"
    assert eval(repr(PLACES)).synonyms == PLACES.synonyms
