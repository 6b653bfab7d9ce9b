"""CAT-Seg v1 (arXiv 2303.11797) transcribed step by step, without a thought for speed; parameter names as in `catseg`.

It takes weights, class names' features and images of a model of ours, and gives the same numbers.
Shapes: B crops, T classes, P prompt templates, C joint embedding width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from benchmarks.plain.aggregation import HeadSizes, PlainAggregator
from benchmarks.plain.clip import PlainImageEncoder, PlainTextEncoder
from benchmarks.plain.swin import PlainSwin
from catseg.modeling.meta_arch import CATSeg


class Wrapper(nn.Module):
    """Holds a module under a name, for the state dict."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class PlainCATSeg(nn.Module):
    """The whole network: images to probabilities, and crops to logits."""

    def __init__(self, model: CATSeg, cfg: CfgNode) -> None:
        """Build the network and take the model's weights; parameters that the model freezes are frozen.

        Args:
            model: gives weights and sizes.
            cfg: what it was built from.

        Raises:
            ValueError: if the backbone is not Swin.
        """
        super().__init__()
        if cfg.MODEL.BACKBONE.NAME != "D2SwinTransformer":
            raise ValueError(f"only Swin is transcribed here, not MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME}")
        swin, head, test = cfg.MODEL.SWIN, cfg.MODEL.SEM_SEG_HEAD, cfg.TEST
        self.backbone = PlainSwin(swin.EMBED_DIM, swin.DEPTHS, swin.NUM_HEADS, swin.WINDOW_SIZE, swin.MLP_RATIO)
        self.clip = Wrapper(visual=_image_encoder(model))
        self.sem_seg_head = Wrapper(aggregator=PlainAggregator(_head_sizes(model, cfg)))
        self.in_features = head.IN_FEATURES
        self.backbone_statistics = (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        self.clip_statistics = (cfg.MODEL.CLIP.PIXEL_MEAN, cfg.MODEL.CLIP.PIXEL_STD)
        self.backbone_size, self.clip_size = model.backbone_input.size, model.clip_input.size
        self.kernel, self.overlap, self.size = test.SLIDING_KERNEL, test.SLIDING_OVERLAP, tuple(test.SLIDING_SIZE)
        take_weights(self, model)

    def forward(self, image: Tensor, text: Tensor, size: tuple[int, int]) -> Tensor:
        """Map an image `(3, H, W)`, 0..255, and text features `(T, P, C)` to probabilities `(T, *size)`."""
        image = image.float().unsqueeze(0)
        resized = F.interpolate(image, size=self.size, mode="bilinear", align_corners=False)
        stride = int(self.kernel * (1 - self.overlap))
        rows, columns = ([*range(0, side - self.kernel, stride), side - self.kernel] for side in self.size)
        places = [(top, left) for top in rows for left in columns]
        crops = [resized[..., top : top + self.kernel, left : left + self.kernel] for top, left in places]
        crops.append(F.interpolate(image, size=(self.kernel, self.kernel), mode="bilinear", align_corners=False))
        logits = self.logits(torch.cat(crops), text)
        logits = F.interpolate(logits, size=(self.kernel, self.kernel), mode="bilinear", align_corners=False)
        *windows, whole = logits.sigmoid()
        total = torch.zeros(len(text), *self.size)
        count = torch.zeros(self.size)
        for window, (top, left) in zip(windows, places, strict=True):
            total[:, top : top + self.kernel, left : left + self.kernel] += window
            count[top : top + self.kernel, left : left + self.kernel] += 1
        whole = F.interpolate(whole.unsqueeze(0), size=self.size, mode="bilinear", align_corners=False)
        merged = (total / count + whole[0]) / 2
        return F.interpolate(merged.unsqueeze(0), size=size, mode="bilinear", align_corners=False)[0]

    def logits(self, crops: Tensor, text: Tensor) -> Tensor:
        """Map crops `(B, 3, k, k)`, 0..255, and text features `(T, P, C)` to logits `(B, T, 4 H, 4 W)`."""
        dense = self.clip.get_submodule("visual")(_prepare(crops, *self.clip_statistics, self.clip_size))
        maps = self.backbone(_prepare(crops, *self.backbone_statistics, self.backbone_size))
        aggregator = self.sem_seg_head.get_submodule("aggregator")
        return aggregator(dense, [maps[name] for name in self.in_features], text)

    def loss(self, crops: Tensor, target: Tensor, text: Tensor, ignore_label: int) -> Tensor:
        """The training loss of crops `(B, 3, k, k)` with class numbers `(B, k, k)`."""
        logits = self.logits(crops, text)
        logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
        classes = logits.shape[1]
        one_hot = F.one_hot(target.where(target != ignore_label, classes), classes + 1)[..., :classes]
        return F.binary_cross_entropy_with_logits(logits, one_hot.permute(0, 3, 1, 2).float())


def plain_text_encoder(model: CATSeg) -> PlainTextEncoder:
    """The plain text encoder with a model's weights."""
    clip = model.clip
    blocks = clip.transformer.resblocks
    encoder = PlainTextEncoder(
        width=clip.positional_embedding.shape[1],
        hidden=blocks[0].mlp.c_fc.out_features,
        heads=blocks[0].attn.num_heads,
        layers=len(blocks),
        context=clip.context_length,
        words=clip.vocab_size,
        dim=clip.text_projection.shape[1],
        activation=type(blocks[0].mlp.gelu),
    )
    take_weights(encoder, clip)
    return encoder.eval()


def take_weights(plain: nn.Module, ours: nn.Module) -> None:
    """Give a plain network the weights of ours that have the same names, and freeze what ours freezes.

    Raises:
        RuntimeError: if ours lacks one.
    """
    state = ours.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict() if name in state})
    trained = {name: parameter.requires_grad for name, parameter in ours.named_parameters()}
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(trained[name])


def _image_encoder(model: CATSeg) -> PlainImageEncoder:
    visual = model.clip.visual
    blocks = visual.transformer.resblocks
    return PlainImageEncoder(
        width=visual.conv1.out_channels,
        hidden=blocks[0].mlp.c_fc.out_features,
        heads=blocks[0].attn.num_heads,
        layers=len(blocks),
        patch=visual.conv1.kernel_size[0],
        positions=len(visual.positional_embedding),
        dim=visual.output_dim,
        activation=type(blocks[0].mlp.gelu),
    )


def _head_sizes(model: CATSeg, cfg: CfgNode) -> HeadSizes:
    head = cfg.MODEL.SEM_SEG_HEAD
    shapes = model.backbone.output_shape()
    return HeadSizes(
        templates=len(model.text_encoder.templates),
        text_dim=model.clip.visual.output_dim,
        map_dims=[shapes[name].channels for name in head.IN_FEATURES],
        dim=head.HIDDEN_DIMS,
        layers=head.NUM_LAYERS,
        heads=head.NUM_HEADS,
        window=head.WINDOW_SIZES,
        appearance_dim=head.APPEARANCE_GUIDANCE_PROJ_DIM,
        text_guidance_dim=head.TEXT_GUIDANCE_PROJ_DIM,
        decoder_dims=head.DECODER_DIMS,
        decoder_guidance_dims=head.DECODER_GUIDANCE_PROJ_DIMS,
        pooling=head.POOLING_SIZES,
        pooling_test=head.POOLING_SIZES_TEST,
    )


def _prepare(crops: Tensor, mean: Sequence[float], std: Sequence[float], size: tuple[int, int]) -> Tensor:
    crops = (crops - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    return F.interpolate(crops, size=size, mode="bilinear", align_corners=False)
