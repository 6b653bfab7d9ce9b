import pytest

from catseg.engine.schedule import check_schedule


def test_lengths_and_schedules_that_do_not_exist_are_an_error(toy_config):
    check_schedule(toy_config())
    with pytest.raises(ValueError, match=r"SOLVER\.MAX_ITER is 0, expected a number of at least 1"):
        check_schedule(toy_config(SOLVER__MAX_ITER=0))
    with pytest.raises(ValueError, match=r"a schedule of the learning rate that does not exist .*Cosine"):
        check_schedule(toy_config(SOLVER__LR_SCHEDULER_NAME="Cosine"))
