"""Saving and loading of a model and of the state of its training."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.config import CfgNode
from torch import Tensor

from catseg.atomic import atomic_path, remove_remains
from catseg.checkpoint.backbone_weights import CONVERTERS, Converter
from catseg.checkpoint.files import LAST, holds_whole_network, is_whole_network, last_checkpoint, take_checkpoint
from catseg.checkpoint.official import CAT_SEG, OWN
from catseg.checkpoint.sources import belongs_to, fetch
from catseg.errors import InputError
from catseg.weight_files.fitting import MismatchError, prefixes, strip_prefix, under
from catseg.weight_files.unwrap import shorten

logger = logging.getLogger(__name__)

# Files in Caffe2's format have merged the statistics of batch norms into the weights.
_MERGED_STATISTICS = re.compile(r".*\.(running_mean|running_var|num_batches_tracked)")


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with whole files only, strict loading and the published files of CAT-Seg.

    Files are written beside their place and moved there when complete, so that whatever interrupts a save leaves the
    earlier checkpoints as they were. `last_checkpoint` names the newest one and is written after it.

    Attributes:
        complete: whether the last `load` filled the whole model, and not the backbone alone.
    """

    complete = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write the model, the training state and `kwargs` to `<save_dir>/<name>.pth`, as the last checkpoint.

        Raises:
            OSError: if the file cannot be written; nothing changes then.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        self._write(name, {**states, **kwargs})
        self.tag_last_checkpoint(f"{name}.pth")

    def save_weights(self, name: str, **kwargs: Any) -> None:
        """Write the model and `kwargs` alone to `<save_dir>/<name>.pth`; the last checkpoint stays what it was.

        Raises:
            OSError: if the file cannot be written; nothing changes then.
        """
        if self.save_dir and self.save_to_disk:
            self._write(name, kwargs)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note which file of `save_dir` a resumed run goes on with."""
        with atomic_path(Path(self.save_dir) / LAST) as path:
            path.write_text(last_filename_basename, encoding="utf-8")

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load weights and training state.

        Args:
            path: "" for nothing, or what `catseg.checkpoint.sources.fetch` takes, of: a checkpoint of this project; one
                of CAT-Seg as published; for the backbone alone, its published classification model, a segmentation
                network of OpenMMLab that has it, or a ResNet of Detectron2's model zoo. All names in the file may have
                a prefix; tensors without it are left out, with a warning.
            checkpointables: names of what to load beside the model, which only checkpoints of this project hold; all by
                default.

        Returns:
            What else the file held.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is unreadable, its tensors are not those of the model (it lists them), or it has no
                training state of this project, or that of other options.
        """
        self.complete = False
        if not path:
            logger.info("MODEL.WEIGHTS is empty: the model starts from its initial weights")
            return {}
        checkpoint = self._load_file(path)
        weights = checkpoint.pop("model")
        try:
            part = self._load_weights(weights, author=checkpoint.get("__author__", ""))
        except (RuntimeError, ValueError) as error:
            hint = belongs_to(path)
            raise InputError(
                f"{path} does not fit the network that the config describes{f' ({hint})' if hint else ''}: {error}"
            ) from error
        logger.info("Loaded %s: %s", path, part)
        foreign = _is_published(weights) or not self.complete
        for key in self.checkpointables if checkpointables is None else checkpointables:
            self._load_state(key, None if foreign else checkpoint.pop(key, None), path=path)
        return checkpoint

    def get_checkpoint_file(self) -> str:
        """Return the path of the last checkpoint.

        Raises:
            FileNotFoundError: if there is none, or it was removed.
        """
        path = last_checkpoint(Path(self.save_dir))
        if path is None:
            raise FileNotFoundError(f"{self.save_dir} holds no checkpoint to --resume from")
        return str(path)

    def _load_file(self, filename: str) -> dict[str, Any]:
        """Read weights as this project does; Detectron2 would unpickle whatever it is given."""
        return take_checkpoint(fetch(filename))

    def _write(self, name: str, extra: dict[str, Any]) -> None:
        file = Path(self.save_dir) / f"{name}.pth"
        remove_remains(file)
        try:
            # Given a path, torch writes by itself, and fails on a full disk without saying that it is full.
            with atomic_path(file) as path, path.open("wb") as stream:
                torch.save({"model": self.model.state_dict(), **extra}, stream)
        except OSError as error:
            raise OSError(f"cannot write {file} ({error}); earlier checkpoints are as they were") from error
        logger.info("Saved %s", file)

    def _load_weights(self, state: dict[str, Tensor], *, author: str) -> str:
        """Load one of the kinds of files that `load` knows, and say which part of the model it filled."""
        own = {name: tensor.shape for name, tensor in self.model.state_dict().items()}
        table = CAT_SEG if _is_published(state) else OWN
        weights, elsewhere = strip_prefix(state, lambda name: table.rename(name) in own)
        if (
            table is OWN
            and not is_whole_network(state)
            and all(name.startswith("backbone.") for name in weights.keys() & own.keys())
        ):
            return self._load_backbone(state, author=author)
        self.model.load_state_dict(table.convert(weights, own))
        _say_left_out(elsewhere)
        self.complete = True
        return "the whole model"

    def _load_backbone(self, state: dict[str, Tensor], *, author: str) -> str:
        backbone = getattr(self.model, "backbone", None)
        if backbone is None:
            raise InputError("it does not hold one tensor of it")
        own = backbone.state_dict()
        converter = CONVERTERS.get(type(backbone).__name__)
        if converter is None or author:  # files of Detectron2's model zoo name one
            weights = _match_by_name(under(state, "backbone.")[0] or state, own, author=author)
        else:
            weights = _convert_under_prefix(converter, state, {name: tensor.shape for name, tensor in own.items()})
        backbone.load_state_dict(weights, strict=False)
        initial = [name for name in own if name not in weights]
        return f"the backbone alone, where initial values stay in {', '.join(initial) or 'no tensor'}"

    def _load_state(self, key: str, state: Any, *, path: str) -> None:
        if state is None:
            raise InputError(
                f"{path} holds no training state of this project ({key}), which --resume goes on from; "
                "for its weights alone, name it as MODEL.WEIGHTS"
            )
        try:
            self.checkpointables[key].load_state_dict(state)
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path} is of a run with other options, --resume needs the same ones ({key}: {error}); "
                "for its weights alone, name it as MODEL.WEIGHTS"
            ) from error


def without_spare_weights(cfg: CfgNode, weights: str) -> CfgNode:
    """Leave out what CLIP starts from if the weights that are loaded next hold all of CLIP.

    Args:
        cfg: of a model that is about to be built.
        weights: what it will load, as `Checkpointer.load` takes it.

    Returns:
        `cfg`, or a copy in which MODEL.CLIP.WEIGHTS is empty, so that they need not be on this machine.

    Raises:
        FileNotFoundError, ValueError: as `Checkpointer.load`, if the weights cannot be read.
    """
    if not (weights and cfg.MODEL.CLIP.WEIGHTS and holds_whole_network(fetch(weights))):
        return cfg
    logger.info("%s holds the whole network, so that what CLIP starts from (MODEL.CLIP.WEIGHTS) is not read", weights)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.CLIP.WEIGHTS = ""
    return cfg


def _is_published(names: Iterable[str]) -> bool:
    """Tell CAT-Seg as its authors publish it from this project's checkpoints by the names of tensors."""
    return any("sem_seg_head.predictor." in name for name in names)


def _convert_under_prefix(
    converter: Converter, state: dict[str, Tensor], expected: dict[str, torch.Size]
) -> dict[str, Tensor]:
    """Import the weights of a backbone, which may be a part of a larger network in the file.

    Raises:
        ValueError: if they do not fit under any prefix; it is about the one under which they fit best.
    """
    failures: list[ValueError] = []
    for prefix in sorted(prefixes(state, len(expected) // 2), key=lambda prefix: not prefix.endswith("backbone.")):
        inside, elsewhere = under(state, prefix)
        try:
            weights = converter(inside, expected)
        except ValueError as error:
            failures.append(error)
            continue
        _say_left_out(elsewhere)
        return weights
    raise min(failures, key=lambda error: error.count if isinstance(error, MismatchError) else len(state))


def _say_left_out(names: list[str]) -> None:
    if names:
        logger.warning("%d tensors of the file are not the network's and are left out: %s", len(names), shorten(names))


def _match_by_name(state: dict[str, Tensor], own: dict[str, Tensor], *, author: str) -> dict[str, Tensor]:
    """Import weights of Detectron2's own backbones, which come under several names."""
    matched = align_and_update_state_dicts(own, state, c2_conversion=author == "Caffe2")
    weights = {name: tensor for name, tensor in matched.items() if name in own}
    lacking = [name for name in own if name not in weights and not _MERGED_STATISTICS.fullmatch(name)]
    if lacking:
        raise InputError(f"it holds neither all of it nor its backbone, which also needs {', '.join(lacking)}")
    return weights
