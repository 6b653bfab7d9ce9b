import torch
import torch.nn.functional as F

from catseg.modeling.layers.images import ImageInput, resize


def test_resize_takes_integers_and_leaves_the_right_size_alone() -> None:
    image = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert resize(image, (1, 2)).tolist() == [[[[0.0, 255.0]]]]
    floats = torch.rand(1, 1, 2, 2)
    assert resize(floats, (2, 2)) is floats


def test_input_is_normalised_per_channel_and_resized() -> None:
    module = ImageInput(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 4.0], size=(4, 6))
    images = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
    expected = torch.stack([(images[:, c].float() - 10 * (c + 1)) / 2**c for c in range(3)], dim=1)
    expected = F.interpolate(expected, size=(4, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(images), expected)
    assert module.state_dict() == {}
