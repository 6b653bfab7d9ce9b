import numpy as np
import torch
from PIL import Image

from catseg.shapes.classes import HELD_OUT
from catseg.shapes.scenes import class_numbers
from catseg.shapes.splits import IMAGES_PER_CHUNK, SPLITS, Split, seen_scenes, unseen_scenes


def held_out_places(scenes):
    held_out = torch.tensor(class_numbers(HELD_OUT))
    return torch.cat((torch.isin(scenes.objects, held_out), torch.isin(scenes.backgrounds, held_out)[:, None]), dim=1)


def test_seen_scenes_hold_nothing_held_out():
    assert not held_out_places(seen_scenes(500, torch.Generator().manual_seed(0))).any()


def test_unseen_scenes_hold_something_held_out_each():
    scenes = unseen_scenes(500, torch.Generator().manual_seed(0))
    places = held_out_places(scenes)
    assert places.any(dim=1).all()
    present = torch.cat((scenes.objects >= 0, torch.ones(500, 1, dtype=torch.bool)), dim=1)
    assert 0.4 < places[present].float().mean() < 0.65


def test_files_hold_what_was_drawn(tmp_path):
    split = Split(tmp_path, "seen_test", 3, 32, seed=0)
    assert split.write_chunk(0) == 3
    image_path, label_path = split.paths(2)
    with Image.open(image_path) as image, Image.open(label_path) as labels:
        assert (image.mode, image.size) == ("RGB", (32, 32))
        assert (labels.mode, labels.size) == ("L", (32, 32))
        assert np.asarray(labels).max() < 27
    assert len(list(tmp_path.rglob("*"))) == 2 * 3 + 4  # no temporary files beside the folders and files


def test_chunks_do_not_depend_on_each_other(tmp_path):
    images = IMAGES_PER_CHUNK + 2
    one, other = (Split(tmp_path / name, "train", images, 16, seed=0) for name in ("one", "other"))
    assert one.chunks == 2
    assert [one.write_chunk(index) for index in (0, 1)] == [IMAGES_PER_CHUNK, 2]
    for index in (1, 0):
        other.write_chunk(index)
    assert one.digest() == other.digest()


def test_splits_and_seeds_differ(tmp_path):
    splits = [Split(tmp_path / f"{seed}", name, 2, 16, seed) for name in SPLITS for seed in (0, 1)]
    for split in splits:
        split.write_chunk(0)
    assert len({split.digest() for split in splits}) == len(splits)


def test_digest_sees_missing_and_changed_files(tmp_path):
    split = Split(tmp_path, "train", 2, 16, seed=0)
    split.write_chunk(0)
    digests = {split.digest()}
    split.paths(1)[1].write_bytes(b"other")
    digests.add(split.digest())
    split.paths(1)[1].unlink()
    digests.add(split.digest())
    assert len(digests) == 3
    split.write_chunk(0)
    assert split.digest() in digests
