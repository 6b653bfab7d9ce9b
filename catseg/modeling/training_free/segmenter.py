"""CLIP alone as a Detectron2 meta-architecture: images and class names in, label maps out, nothing to train.

Shapes: B crops, T classes, P prompt templates, C joint embedding width, H x W cells.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer
from torch import Tensor

from catseg.config_checks import check_normalisation, check_positive, check_share, pair
from catseg.errors import InputError
from catseg.modeling.clip.image_encoder import DenseImageEncoder
from catseg.modeling.clip.parts import clip_parts_from_config
from catseg.modeling.clip.text_encoder import TextEncoder
from catseg.modeling.execution import chunk_sizes_from_config, compile_blocks, dtype_from_config
from catseg.modeling.image_logits import CropFeatures, ImageLogits
from catseg.modeling.layers.chunking import ChunkSizes
from catseg.modeling.layers.images import ImageInput
from catseg.modeling.segmenter import OpenVocabularySegmenter
from catseg.modeling.sliding_window import View
from catseg.modeling.training_free.cosines import ImageCosines
from catseg.modeling.training_free.last_block import PROXYCLIP, TrainingFreeBlock
from catseg.modeling.training_free.proxy import Proxy
from catseg.modeling.tta import view_from_config


@META_ARCH_REGISTRY.register()
class TrainingFreeSegmenter(OpenVocabularySegmenter):
    """Open-vocabulary semantic segmentation by the cosine of dense CLIP features and text.

    The last block of CLIP's image encoder is changed as a published method changes it (`TrainingFreeBlock`). Cosines
    are merged over windows; a softmax over all classes makes them probabilities.
    """

    @configurable
    def __init__(
        self,
        *,
        clip: CLIP,
        image_encoder: DenseImageEncoder,
        text_encoder: TextEncoder,
        clip_input: ImageInput,
        last_block: TrainingFreeBlock,
        proxy: Proxy | None = None,
        view: View,
        logit_scale: float = 40.0,
        background: str = "background",
        background_threshold: float = 0.0,
        chunk_sizes: ChunkSizes = ChunkSizes(),  # noqa: B008 (immutable)
        test_dtype: torch.dtype = torch.float32,
        compiled: bool = False,
        pretrained: bool = True,
    ) -> None:
        """Join the parts.

        Args:
            clip: owns the parameters that `image_encoder` and `text_encoder` use.
            image_encoder: computes dense features.
            text_encoder: computes text features of class names.
            clip_input: normalises and resizes crops for `image_encoder`.
            last_block: takes the place of the image encoder's last block.
            proxy: the network whose features mix the values, with the method `proxyclip`.
            view: splits images into crops, and merges their logits, which it leaves as they are: cosines.
            logit_scale: factor on the cosines in the softmax.
            background: name of the class that pixels get whose most probable class is less probable than
                `background_threshold`; without such a class they keep theirs.
            background_threshold: a probability; 0 for none.
            chunk_sizes: how much goes through the network at once.
            test_dtype: computing type; float32 means that of the weights, others go through autocast.
            compiled: apply `torch.compile` to the blocks of the image encoder when they are first called.
            pretrained: whether the weights of CLIP and of the proxy are trained ones.

        Raises:
            ValueError: unless there is a proxy exactly where the method needs one.
        """
        super().__init__()
        if (proxy is not None) != (last_block.method == PROXYCLIP):
            raise ValueError(f"a proxy belongs to the method {PROXYCLIP}, and to no other")
        self.clip = clip
        self.proxy = proxy
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.clip_input = clip_input
        self.last_block = last_block
        self.view = view
        self.logit_scale = logit_scale
        self.background = background
        self.background_threshold = background_threshold
        self.chunk_sizes = chunk_sizes
        self.test_dtype = test_dtype
        self.pretrained = pretrained
        if compiled:
            compile_blocks(clip.visual)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build every part from a config that went through `add_catseg_config`; no parameter trains.

        Raises:
            ValueError: if a value cannot be used; the message names its key.
        """
        options = cfg.MODEL.TRAINING_FREE
        _check(cfg)
        last_block = TrainingFreeBlock(
            method=options.METHOD,
            residual=options.RESIDUAL,
            mlp=options.MLP,
            gaussian_std=options.GAUSSIAN_STD,
            beta=options.BETA,
            gamma=options.GAMMA,
        )
        parts = clip_parts_from_config(cfg)
        if not isinstance(parts["clip"].visual, VisionTransformer):
            raise InputError(
                f"MODEL.CLIP.NAME is {cfg.MODEL.CLIP.NAME!r}, whose last block is not one that the methods of "
                "MODEL.TRAINING_FREE are made for: expected a plain ViT"
            )
        parts["clip"].requires_grad_(False)
        return {
            **parts,
            "last_block": last_block,
            "proxy": _proxy_from_config(cfg, parts["image_encoder"].input_size) if options.PROXY else None,
            "view": view_from_config(cfg, scoring=as_they_are),
            "logit_scale": options.LOGIT_SCALE,
            "background": options.BACKGROUND,
            "background_threshold": options.BACKGROUND_THRESHOLD,
            "chunk_sizes": chunk_sizes_from_config(cfg),
            "test_dtype": dtype_from_config(cfg),
            "compiled": cfg.MODEL.COMPILE,
            "pretrained": bool(cfg.MODEL.CLIP.WEIGHTS) and not (options.PROXY and not options.PROXY_WEIGHTS),
        }

    def image_features(self, crops: Tensor) -> CropFeatures:
        """Encode crops `(B, 3, h, w)`: features `(B, H, W, C)`, L2-normalised, and no maps."""
        cells = self.image_encoder.grid
        proxy = None if self.proxy is None else self.proxy(crops)
        tokens, _ = self.image_encoder.encode(
            self.clip_input(crops), last_block=partial(self.last_block, grid=cells, proxy=proxy)
        )
        if proxy is None:
            tokens = tokens[:, 1:]  # without the class token
        else:
            cells = (proxy.shape[2], proxy.shape[3])
        return F.normalize(tokens.float(), dim=-1).unflatten(1, cells), {}

    def head_logits(self, image_features: CropFeatures, text_features: Tensor) -> Tensor:
        """Compute the cosines of features and the mean of each class's templates: `(B, T, H, W)`, -1..1."""
        features, _ = image_features
        text = F.normalize(text_features.float().mean(dim=1), dim=-1)
        with torch.autocast(features.device.type, enabled=False):  # they differ by little, and are scaled afterwards
            return (features @ text.T).permute(0, 3, 1, 2)

    def _image_logits(
        self, logits: Tensor, image_size: tuple[int, int], output_size: tuple[int, int], file_name: str
    ) -> ImageLogits:
        backgrounds = (place for place, words in enumerate(self.classes.synonyms) if self.background in words)
        return ImageCosines(
            logits,
            self.view,
            self.chunk_sizes,
            image_size,
            output_size,
            file_name,
            scale=self.logit_scale,
            background=next(backgrounds, None),
            threshold=self.background_threshold,
        )


def as_they_are(logits: Tensor) -> Tensor:
    """Cosines of crops are averaged as cosines, as the published code does."""
    return logits


def _check(cfg: CfgNode) -> None:
    options, section = cfg.MODEL.TRAINING_FREE, "MODEL.TRAINING_FREE."
    check_positive({f"{section}LOGIT_SCALE": options.LOGIT_SCALE})
    check_share({f"{section}BACKGROUND_THRESHOLD": options.BACKGROUND_THRESHOLD})
    if (options.METHOD == PROXYCLIP) != bool(options.PROXY):
        raise InputError(
            f"{section}METHOD is {options.METHOD!r} and {section}PROXY {options.PROXY!r}: {PROXYCLIP} needs timm's "
            "name of a model, such as vit_base_patch8_224.dino, and the other methods have none"
        )
    if cfg.MODEL.CLIP.PROMPT_LENGTH or cfg.MODEL.CLIP.CLASS_TOKEN_RESIDUAL:
        raise InputError(
            "MODEL.CLIP.PROMPT_LENGTH must be 0 and MODEL.CLIP.CLASS_TOKEN_RESIDUAL False with MODEL.META_ARCHITECTURE "
            "TrainingFreeSegmenter, which has no use for them"
        )


def _proxy_from_config(cfg: CfgNode, clip_size: tuple[int, int]) -> Proxy:
    options = cfg.MODEL.TRAINING_FREE
    size = pair("MODEL.TRAINING_FREE.PROXY_SIZE", options.PROXY_SIZE, lowest=0)
    check_normalisation("MODEL", cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    proxy = Proxy(
        name=options.PROXY,
        weights=options.PROXY_WEIGHTS,
        size=clip_size if size == (0, 0) else size,
        mean=cfg.MODEL.PIXEL_MEAN,
        std=cfg.MODEL.PIXEL_STD,
    )
    return proxy.requires_grad_(False)
