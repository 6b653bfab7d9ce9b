import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from detectron2.data import build_detection_train_loader

from catseg.engine.training_stream import TrainingStream, seed_random_generators


def record_and_draws(record):
    from_numpy = float(np.random.rand())  # noqa: NPY002 the global generator is what augmentations draw from
    return record, random.random(), from_numpy, float(torch.rand(()))


def make_stream(size=7, seed=3, batch_size=2, rank=0, world_size=1, position=0):
    stream = TrainingStream(
        records=list(range(size)),
        mapper=record_and_draws,
        seed=seed,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
    )
    stream.position = position
    return stream


def batches(stream, count, num_workers=0):
    total = stream._batch_size * stream._world_size
    loader = build_detection_train_loader(
        stream, mapper=None, total_batch_size=total, aspect_ratio_grouping=False, num_workers=num_workers
    )
    return list(itertools.islice(loader, count))


def test_each_epoch_holds_every_record_once_in_an_order_of_its_own():
    samples = [make_stream(size=50).sample(position)[0] for position in range(150)]
    epochs = [samples[start : start + 50] for start in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_sample_depends_on_seed_and_position_alone():
    stream = make_stream()
    later = stream.sample(20)
    assert stream.sample(4) == make_stream().sample(4)
    assert make_stream().sample(20) == later
    assert make_stream(seed=4).sample(20)[1:] != later[1:]


def test_no_two_samples_share_their_random_numbers():
    draws = [make_stream().sample(position)[1:] for position in range(30)]
    assert len({value for each in draws for value in each}) == 90


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(num_workers):
    expected = batches(make_stream(), 8)
    assert batches(make_stream(), 8, num_workers) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_goes_on_where_its_state_was_taken(num_workers):
    expected = batches(make_stream(), 6)
    stopped = make_stream()
    for _ in range(3):
        stopped.advance()
    resumed = make_stream(seed=99)
    resumed.load_state_dict(stopped.state_dict())
    assert batches(resumed, 3, num_workers) == expected[3:]


def test_a_stream_reaches_workers_that_are_not_forked():
    offset = 5
    stream = TrainingStream(records=[1, 2, 3], mapper=lambda record: record + offset, seed=0, batch_size=1)
    copy = pickle.loads(pickle.dumps(stream))
    assert [copy.sample(position) for position in range(6)] == [stream.sample(position) for position in range(6)]


def test_processes_divide_the_same_total_batches():
    whole = batches(make_stream(batch_size=4), 3)
    first, second = (list(itertools.islice(make_stream(rank=rank, world_size=2), 6)) for rank in range(2))
    assert [first[i : i + 2] + second[i : i + 2] for i in (0, 2, 4)] == whole


def test_the_networks_randomness_differs_by_step_and_process():
    draws = set()
    for position, rank in itertools.product((0, 4, 8), (0, 1)):
        make_stream(rank=rank, world_size=2, position=position).seed_step()
        draws.add(float(torch.rand(())))
    assert len(draws) == 6


def test_seeding_repeats_and_mixes():
    seed_random_generators(1, 2)
    first = record_and_draws(0)
    seed_random_generators(1, 2)
    assert record_and_draws(0) == first
    seed_random_generators(2, 1)
    assert record_and_draws(0) != first
