import pytest
import torch
from torch.nn.functional import normalize

from catseg.errors import NotFiniteError
from catseg.shapes.run import PermutedNames, raw_cost_volume
from catseg.vocabulary import Vocabulary
from tests.tiny import tiny_model


def test_names_are_all_permuted(tmp_path):
    model = tiny_model(tmp_path)
    names = Vocabulary(f"thing {number}" for number in range(7))
    PermutedNames(model).set_vocabulary(names)
    assert sorted(model.classes) == list(names)
    assert all(mine != yours for mine, yours in zip(model.classes, names, strict=True))


def test_raw_scores_that_are_no_numbers_are_no_labels(tmp_path):
    model = tiny_model(tmp_path)
    model.clip.visual.proj.data.fill_(torch.nan)
    raw = raw_cost_volume(model)
    raw.set_vocabulary(["sea", "sand"])
    with pytest.raises(NotFiniteError):
        raw.predict_labels([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "height": 64, "width": 64}])


def test_raw_labels_are_the_nearest_names(tmp_path):
    model = tiny_model(tmp_path)
    names = Vocabulary(["sea", "sand", "sky"])
    trained = [parameter.requires_grad for parameter in model.clip.parameters()]
    raw = raw_cost_volume(model)
    assert [parameter.requires_grad for parameter in model.clip.parameters()] == trained
    raw.set_vocabulary(names)
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    (result,) = raw.predict_labels([{"image": image, "height": 64, "width": 64}])
    text = normalize(model.text_features(names).mean(dim=1), dim=-1)
    dense = normalize(model.dense_features(image[None].float())[0, 1:], dim=-1)
    coarse = (dense @ text.T).view(4, 4, 3)
    for row, column in ((0, 0), (0, 3), (3, 0), (3, 3)):  # corners are not interpolated
        place = (row // 3 * 63, column // 3 * 63)
        assert result["labels"][place] == coarse[row, column].argmax()
