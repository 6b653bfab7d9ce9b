import numpy as np

from catseg.app.limits import Limits
from catseg.app.photos import Photo
from catseg.app.sessions import Session, Sessions


def photo(digest="a"):
    return Photo(np.zeros((2, 2, 3), np.uint8), digest, "a.png")


def test_each_caller_has_an_own_session():
    sessions = Sessions(Limits())
    first = sessions.get(("", "one"))
    first.show(photo())
    assert sessions.get(("", "one")) is first
    assert sessions.get(("", "two")).photo is None
    assert sessions.get(("ann", "one")).photo is None


def test_the_oldest_goes_first():
    sessions = Sessions(Limits(sessions=2))
    kept = [sessions.get(("", name)) for name in "ab"]
    sessions.get(("", "a"))
    sessions.get(("", "c"))
    assert len(sessions) == 2
    assert sessions.get(("", "a")) is kept[0]
    assert sessions.get(("", "b")) is not kept[1]


def test_idle_ones_are_forgotten():
    now = [0.0]
    sessions = Sessions(Limits(minutes=1), clock=lambda: now[0])
    sessions.get(("", "a"))
    now[0] = 59
    sessions.get(("", "b"))
    now[0] = 61
    sessions.forget_idle()
    assert len(sessions) == 1
    sessions.forget(("", "b"))
    sessions.forget(("", "b"))
    assert len(sessions) == 0


def test_another_image_takes_the_place_of_all_that_was():
    session = Session(photo=photo(), encoded="encoded", result="result")
    session.show(photo())
    assert session.encoded == "encoded"
    session.show(photo("b"))
    assert (session.encoded, session.result) == (None, None)
    session.forget_image()
    assert session.photo is None
