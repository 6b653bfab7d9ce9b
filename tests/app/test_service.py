import threading

import pytest

from catseg.app.photos import read_photo
from catseg.app.sessions import Session
from catseg.errors import InputError, RunError
from tests.app.conftest import ask, finish, picture


@pytest.fixture
def session(service):
    session = Session()
    session.show(read_photo(picture(), "a.png", service.limits))
    return session


def test_other_words_do_not_encode_the_image_again(service, session, module):
    _, result = finish(service.segment(session, ask()))
    assert result.share() == {"left": 0.5, "right": 0.5}
    assert session.result is result
    assert module.encoded == 1
    finish(service.segment(session, ask("this, that")))
    assert module.encoded == 1
    session.show(read_photo(picture(seed=1), "b.png", service.limits))
    finish(service.segment(session, ask()))
    assert module.encoded == 2


def test_another_model_encodes_the_image_again(service, session, module):
    finish(service.segment(session, ask()))
    finish(service.segment(session, ask(model="v2-base")))
    assert module.encoded == 2


def test_stages_of_long_work(service, session, monkeypatch):
    seen = []
    monkeypatch.setattr("catseg.app.jobs.Job.stage", lambda self, text: seen.append(text))
    finish(service.segment(session, ask(vocabulary="ade20k_150")))
    assert seen == [
        "Loading the model shapes",
        "Looking at the image",
        *(f"Reading names, {start} of 150" for start in (0, 32, 64, 96, 128)),
        "Finding which pixel is which",
    ]
    seen.clear()
    finish(service.segment(session, ask("wall, door, left")))
    assert seen == ["Reading names, 0 of 1", "Finding which pixel is which"]  # the others are known


def test_what_cannot_be_asked(service, session):
    for wrong, reason in (
        (ask(""), "no names"),
        (ask("a,,b"), "empty name"),
        (ask(vocabulary="/etc/passwd"), "no vocabulary is called"),
        (ask(vocabulary="ade20k_847"), "847 names, this server takes 200"),
        (ask(model="x"), "no model is called"),
    ):
        with pytest.raises(InputError, match=reason):
            finish(service.segment(session, wrong))
    with pytest.raises(InputError, match="no image"):
        finish(service.segment(Session(), ask()))


def test_an_image_that_comes_meanwhile_keeps_no_result_of_the_earlier_one(service, session, module, monkeypatch):
    def encode(item):
        session.show(read_photo(picture(seed=5), "b.png", service.limits))
        return real(item)

    real = module.encode_image
    monkeypatch.setattr(module, "encode_image", encode)
    finish(service.segment(session, ask()))
    assert session.result is None


def test_the_limit_of_time(service, session, module, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(module, "encode_image", lambda item: go_on.wait(10))
    object.__setattr__(service.limits, "seconds", 0.3)
    try:
        with pytest.raises(RunError, match=r"not done after 0\.3 seconds"):
            finish(service.segment(session, ask()))
    finally:
        object.__setattr__(service.limits, "seconds", 20)
        go_on.set()


def test_results_are_named_as_their_owner_names_the_image(service, session):
    _, result = finish(service.segment(session, ask()))
    assert result.to_coco()["images"][0]["file_name"] == "a.png"
