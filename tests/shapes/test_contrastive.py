import pytest
import torch

from catseg.modeling.clip.loading import build_clip, build_tokenizer
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.shapes.classes import HELD_OUT_OBJECTS, OBJECTS
from catseg.shapes.contrastive import PixelNorm, Schedule, measure_locality, train_clip
from catseg.shapes.pretrain_clip import MODEL, NORM


def train(clip, schedule, **settings):
    generator = torch.Generator().manual_seed(0)
    return list(train_clip(clip, build_tokenizer(MODEL), schedule, normalise=NORM, generator=generator, **settings))


def locality(clip, told=OBJECTS):
    encoder = TextEncoder(clip=clip, tokenizer=build_tokenizer(MODEL), templates=("a photo of a {}.",))
    return measure_locality(clip, encoder, normalise=NORM, told=told, images=40)


def test_pairs_are_learned_and_pixels_named_better_than_by_chance():
    clip = build_clip(MODEL)
    losses = train(clip, Schedule(steps=150, batch_size=32))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert locality(clip.eval()).told > 3 / 30


@pytest.mark.parametrize("value_path", [0.0, 1.0])
def test_value_path_alone_leaves_attention_weights_as_they_were(value_path):
    clip = build_clip(MODEL)
    attention = clip.visual.transformer.resblocks[-1].attn
    before = attention.in_proj_weight.detach().clone()
    train(clip, Schedule(steps=2, batch_size=8, value_path=value_path, weight_decay=0.0))
    queries, values = slice(0, 64), slice(128, 192)
    assert torch.equal(attention.in_proj_weight[queries], before[queries]) == (value_path == 1.0)
    assert not torch.equal(attention.in_proj_weight[values], before[values])


def test_token_embedding_stays_as_it_is():
    clip = build_clip(MODEL)
    before = clip.token_embedding.weight.detach().clone()
    train(clip, Schedule(steps=2, batch_size=8))
    assert torch.equal(clip.token_embedding.weight, before)


def test_locality_counts_the_pixels_of_the_named_objects(monkeypatch):
    clip = build_clip(MODEL).eval()
    same = locality(clip, told=HELD_OUT_OBJECTS)
    assert same.told == same.held_out
    monkeypatch.setattr(
        "catseg.shapes.contrastive._nearest_text", lambda features, text: features.new_zeros(40, 64).long()
    )
    constant = locality(clip, told=("red plain patch",))  # the first name, everywhere
    assert constant.told == 1.0
    assert constant.held_out == 0.0


def test_pixel_norm():
    norm = PixelNorm((10.0, 20.0, 30.0), (1.0, 2.0, 5.0))
    image = torch.tensor([[[[12]], [[20]], [[20]]]], dtype=torch.uint8)
    assert norm(image).flatten().tolist() == [2.0, 0.0, -2.0]
