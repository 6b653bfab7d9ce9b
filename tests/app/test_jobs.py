import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from catseg.app.jobs import Job
from catseg.errors import InputError, RunError
from tests.app.conftest import finish


@pytest.fixture
def pool():
    made = ThreadPoolExecutor(1)
    yield made
    made.shutdown(wait=False, cancel_futures=True)


def test_stages_and_result(pool):
    steps = [threading.Event(), threading.Event()]

    def work(job):
        job.stage("one")
        steps[0].wait(5)
        job.stage("two")
        steps[1].wait(5)
        return 3

    stages = []
    follow = Job(work, pool, 10).follow()
    for stage in follow:
        stages.append(stage)
        if stage in ("one", "two"):
            steps[len(stages) - stages.index("one") - 1].set()
    assert stages[-2:] == ["one", "two"]


def test_errors_of_the_work_are_raised(pool):
    def work(job):
        raise InputError("wrong")

    with pytest.raises(InputError, match="wrong"):
        finish(Job(work, pool, 10).follow())


def test_a_time_out_of_the_work_itself_is_its_error(pool):
    def work(job):
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        finish(Job(work, pool, 10).follow())


def test_too_long(pool):
    stopped = threading.Event()
    go_on = threading.Event()

    def work(job):
        go_on.wait(5)
        try:
            job.stage("never")
        except CancelledError:
            stopped.set()

    with pytest.raises(RunError, match=r"not done after 0\.3 seconds, this server's limit"):
        finish(Job(work, pool, 0.3).follow())
    go_on.set()
    assert stopped.wait(5)


def test_who_leaves_stops_the_job(pool):
    begun, go_on, stopped = threading.Event(), threading.Event(), threading.Event()

    def work(job):
        begun.set()
        go_on.wait(5)
        try:
            job.stage("never")
        except CancelledError:
            stopped.set()

    follow = Job(work, pool, 10).follow()
    next(follow)
    assert begun.wait(5)
    follow.close()
    go_on.set()
    assert stopped.wait(5)


def test_a_job_that_waits_is_not_begun_when_it_is_stopped(pool):
    go_on = threading.Event()
    pool.submit(go_on.wait, 5)
    begun = threading.Event()
    follow = Job(lambda job: begun.set(), pool, 10).follow()
    assert next(follow) == "Waiting for the model"
    follow.close()
    go_on.set()
    pool.submit(lambda: None).result(5)
    assert not begun.is_set()
