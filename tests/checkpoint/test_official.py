import pytest

from catseg.checkpoint.official import CAT_SEG


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("backbone.norm0.weight", "backbone.norm0.weight"),
        ("backbone.stem.conv1.norm.running_var", "backbone.stem.conv1.norm.running_var"),
        ("upsample1.weight", "clip_pyramid.upsample_res3.weight"),
        ("upsample2.bias", "clip_pyramid.upsample_res2.bias"),
        ("transformer.layers.1.attention.padding_tokens", "layers.1.class_.padding_tokens"),
        ("transformer.conv1.weight", "cost_embedding.conv.weight"),
        ("transformer.decoder_guidance_projection.1.0.bias", "guidance.decoder.1.bias"),
        ("transformer.layers.1.swin_block.block_2.attn.q.weight", "layers.1.spatial.blocks.1.attn.q.weight"),
        ("transformer.layers.0.swin_block.guidance_norm.bias", "layers.0.spatial.guidance_norm.bias"),
        ("transformer.layers.0.attention.attention.k.bias", "layers.0.class_.attn.k.bias"),
        ("transformer.layers.0.attention.MLP.2.weight", "layers.0.class_.mlp.fc2.weight"),
        ("transformer.layers.0.attention.norm1.weight", "layers.0.class_.norm1.weight"),
        ("transformer.decoder2.conv.double_conv.4.bias", "decoder.stages.1.norm2.bias"),
        ("transformer.head.weight", "decoder.head.weight"),
    ],
)
def test_published_names_of_cat_seg(official: str, ours: str) -> None:
    if official.startswith("transformer"):
        official, ours = f"sem_seg_head.predictor.{official}", f"sem_seg_head.aggregator.{ours}"
    assert CAT_SEG.rename(official) == ours


def test_clip_keeps_its_names() -> None:
    name = "visual.transformer.resblocks.3.attn.in_proj_weight"
    assert CAT_SEG.rename(f"sem_seg_head.predictor.clip_model.{name}") == f"clip.{name}"
