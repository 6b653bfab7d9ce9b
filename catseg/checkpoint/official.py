"""Published weights, renamed to this project's names: pure functions from state dict to state dict.

A table says how tensors are renamed, which ones a published file holds but the network does not need, and which ones
the network has but the file need not hold. Everything else that is unknown, missing or of another shape is an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RenameTable:
    """How the tensors of a published file become ours. All patterns are regular expressions, matched from the start.

    Attributes:
        source: what the table is for, for error messages.
        renames: pattern and replacement; each name goes through all of them in turn.
        dropped: published names without a counterpart.
        optional: our names that may be missing; they keep their initial values.
    """

    source: str
    renames: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def rename(self, name: str) -> str:
        """Our name for the published `name`."""
        for pattern, replacement in self.renames:
            name = re.sub(rf"\A(?:{pattern})", replacement, name)
        return name

    def convert(self, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Rename the tensors of a published file.

        Args:
            state: published name to tensor.
            expected: our name to shape, for every tensor that the network has.

        Returns:
            Our name to tensor: all of `expected` but what the table calls optional and the file lacks.

        Raises:
            ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
        """
        kept = (name for name in state if not _matches(name, self.dropped))
        converted = {self.rename(name): state[name] for name in kept}
        absent = [name for name in expected if name not in converted and not _matches(name, self.optional)]
        problems = {
            "unknown": [name for name in converted if name not in expected],
            "missing": absent,
            "of another shape": [
                f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name])}"
                for name, tensor in converted.items()
                if name in expected and tensor.shape != expected[name]
            ],
        }
        found = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
        if found:
            raise ValueError(f"these are not the weights of this network ({self.source}); " + "; ".join(found))
        return converted


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


_AGGREGATOR = "sem_seg_head.aggregator."

CAT_SEG = RenameTable(
    source="CAT-Seg v1, as the authors publish it",
    renames=(
        (r"sem_seg_head\.predictor\.clip_model\.", "clip."),
        (r"sem_seg_head\.predictor\.transformer\.", _AGGREGATOR),
        (rf"{_AGGREGATOR}conv1\.", f"{_AGGREGATOR}cost_embedding.conv."),
        (rf"{_AGGREGATOR}guidance_projection\.0\.", f"{_AGGREGATOR}guidance.appearance."),
        (rf"{_AGGREGATOR}text_guidance_projection\.0\.", f"{_AGGREGATOR}guidance.text."),
        (rf"{_AGGREGATOR}decoder_guidance_projection\.(\d+)\.0\.", rf"{_AGGREGATOR}guidance.decoder.\1."),
        (rf"({_AGGREGATOR}layers\.\d+\.)swin_block\.", r"\1spatial."),
        (rf"({_AGGREGATOR}layers\.\d+\.spatial\.)block_1\.", r"\1blocks.0."),
        (rf"({_AGGREGATOR}layers\.\d+\.spatial\.)block_2\.", r"\1blocks.1."),
        (rf"({_AGGREGATOR}layers\.\d+\.)attention\.", r"\1class_."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)attention\.", r"\1attn."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)MLP\.0\.", r"\1mlp.fc1."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)MLP\.2\.", r"\1mlp.fc2."),
        (rf"{_AGGREGATOR}decoder1\.", f"{_AGGREGATOR}decoder.stages.0."),
        (rf"{_AGGREGATOR}decoder2\.", f"{_AGGREGATOR}decoder.stages.1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.0\.", r"\1conv1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.1\.", r"\1norm1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.3\.", r"\1conv2."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.4\.", r"\1norm2."),
        (rf"{_AGGREGATOR}head\.", f"{_AGGREGATOR}decoder.head."),
    ),
    dropped=(
        r".*\.relative_position_index",
        r".*\.attn_mask",
        r"sem_seg_head\.predictor\.clip_model\.(input_resolution|context_length|vocab_size)",
    ),
)

SWIN = RenameTable(
    source="Swin, as its authors publish it, or as a backbone of CAT-Seg",
    dropped=(
        r".*\.relative_position_index",
        r".*\.attn_mask",
        r"(norm|head)\.(weight|bias)",
    ),
    optional=(r"norm\d+\.(weight|bias)",),
)


def convert_swin(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Rename the tensors of a Swin file, leaving out the stages that this backbone does not have.

    A classification file has four stages and no output norms; those keep their initial values.

    Args:
        state: published name to tensor.
        expected: the backbone's name to shape.

    Returns:
        The backbone's name to tensor.

    Raises:
        ValueError: if tensors are unknown, missing or of another shape than expected; it lists them.
    """
    last = max(int(name.split(".")[1]) for name in expected if name.startswith("layers."))
    beyond = re.compile(r"layers\.(\d+)\.(downsample\.)?")

    def needed(name: str) -> bool:
        match = beyond.match(name)
        if match is None:
            return True
        stage, is_downsample = int(match[1]), match[2] is not None
        return stage < last or (stage == last and not is_downsample)

    return SWIN.convert({name: tensor for name, tensor in state.items() if needed(name)}, expected)
