"""CAT-Seg as a Detectron2 meta-architecture: images and class names in, a loss or label maps out.

Shapes: T classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from catseg.modeling.losses import class_wise_bce
from catseg.modeling.network import CATSegNetwork
from catseg.vocabulary import Vocabulary, VocabularySource, load_vocabulary


@META_ARCH_REGISTRY.register()
class CATSeg(CATSegNetwork):
    """Open-vocabulary semantic segmentation by aggregating the cost between dense CLIP features and text.

    The classes are set at run time: `set_vocabulary` for inference, `set_train_vocabulary` for the labels of training.
    """

    _train_classes = Vocabulary()

    def set_train_vocabulary(self, classes: VocabularySource) -> None:
        """Choose the classes that labels 0, 1, ... stand for in training. Arguments and errors as `set_vocabulary`."""
        self._train_classes = load_vocabulary(classes)

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Compute the loss in training, and class probabilities in inference.

        Args:
            batched_inputs: per image, `image`: RGB, `(3, h, w)`, 0..255, uint8 or float. In training also `sem_seg`:
                int64 `(h, w)` class numbers, all images of one size. In inference optionally `height` and `width`
                of the output, by default the image's own.

        Returns:
            In training `{"loss_sem_seg": scalar}`; else per image `{"sem_seg": (T, height, width)}`, probabilities of
            each class by itself, 0..1.

        Raises:
            RuntimeError: if no vocabulary was set.
            ValueError: if labels and training vocabulary do not fit.
            FloatingPointError: in inference, if the scores of an image are not numbers. The message has the image's
                `file_name`, if there is one.
        """
        if self.training:
            return self._losses(batched_inputs)
        return super().forward(batched_inputs)

    def _losses(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        crops, target = (
            torch.stack([item[key].to(self.device, non_blocking=True) for item in batched_inputs])
            for key in ("image", "sem_seg")
        )
        logits = self.logits(crops.float(), self.text_features(self._train_classes))
        return {"loss_sem_seg": self.loss_weight * class_wise_bce(logits, target, ignore_label=self.ignore_label)}
