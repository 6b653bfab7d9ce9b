"""Check this implementation against reference cases: what the authors' code computes, as numbers.

    python -m catseg.parity CASE.npz ... [--device cuda]

Each case is rebuilt through the project's own building and weight import. One line is printed per stored quantity: its
largest error relative to the reference's standard deviation, the tolerance, and ok or FAIL. The exit status is 0 if all
quantities of all cases are within tolerance, 1 if one is not, and 2 if a file cannot be run.

The tolerance is 1e-4 for CAT-Seg and for CLIP without training. A gradient beyond it gets, added, what it changes by
when the ReLUs whose inputs are 0 but for rounding take their other sides (`relu_kinks`): two exact implementations may
differ by as much.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from catseg.arguments import file_path
from catseg.checkpoint.official import CAT_SEG
from catseg.console import add_debug_option, debugging
from catseg.modeling.aggregation.aggregator import AggregationLayer, Aggregator
from catseg.modeling.meta_arch import CATSeg
from catseg.modeling.sliding_window import WholeImage
from catseg.parity.backbone_cases import build_backbone
from catseg.parity.case import ReferenceCase, UnsupportedCaseError, load_case
from catseg.parity.catseg_cases import CPU, build_catseg
from catseg.parity.relu_kinks import kink_spread
from catseg.parity.training_free_cases import training_free_features

CATSEG_TOLERANCE = 1e-4
MISSING = torch.tensor(float("nan"))  # in place of a gradient that a parameter does not have
COST_EMBEDDING = "cost_embedding_bt"  # crops and classes in one axis, as the reference stores it
BACKBONE_NOISE_FACTOR = 3  # tolerance of a backbone's map over the float32 noise of the official code


@dataclass(frozen=True)
class Comparison:
    """One quantity: its largest error relative to the reference's standard deviation, against a tolerance."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Tell whether the error is a number within tolerance."""
        return self.error <= self.tolerance


def main(argv: Sequence[str] | None = None) -> int:
    """Check the cases named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m catseg.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cases", nargs="+", metavar="CASE.npz", type=file_path, help="reference case of CAT-Seg, a backbone or CLIP"
    )
    parser.add_argument("--device", default="cpu", help="torch device to compute on (default: %(default)s)")
    add_debug_option(parser)
    args = parser.parse_args(argv)
    device = _checked_device(args.device, parser)
    status = 0
    for path in args.cases:
        try:
            sys.stdout.write(f"{path}\n")
            case = load_case(path)
            for comparison in check_case(case, device):
                verdict = "ok" if comparison.passed else "FAIL"
                sys.stdout.write(
                    f"  {comparison.name:<72} error {comparison.error:9.2e}  tolerance {comparison.tolerance:8.1e}  "
                    f"{verdict}\n"
                )
                sys.stdout.flush()
                status = status if comparison.passed else max(status, 1)
        except Exception as error:  # a file may ask for anything; the others are checked all the same
            sys.stderr.write(f"{path}: cannot be run: {type(error).__name__}: {error}\n")
            if debugging():
                traceback.print_exception(error)
            status = 2
    return status


def _checked_device(name: str, parser: argparse.ArgumentParser) -> torch.device:
    """Return the device; on a GPU, with TF32 off, since the reference was computed in float32."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        parser.error(f"--device {name} cannot be used here: {str(error).splitlines()[0]}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return device


def check_case(case: ReferenceCase, device: torch.device = CPU) -> Iterator[Comparison]:
    """Compare every quantity that a case stores.

    Args:
        case: the case.
        device: where to compute.

    Yields:
        A comparison for each quantity.

    Raises:
        UnsupportedCaseError: if the project does not have the network.
        ValueError: if the case's weights do not fit it.
    """
    if "family" in case.config:
        yield from _check_backbone(case, device)
    elif "version" in case.config:
        yield from _check_catseg(case, device)
    elif "method" in case.config:
        yield _check_training_free(case, device)
    else:
        raise UnsupportedCaseError(
            "no case of a backbone, CAT-Seg or CLIP without training: its config has no `family`, `version` or `method`"
        )


def _check_backbone(case: ReferenceCase, device: torch.device) -> Iterator[Comparison]:
    backbone = build_backbone(case).to(device)
    with torch.no_grad():
        maps = backbone(torch.from_numpy(case.inputs["image"]).to(device))
    for name, shape in case.config["output_shapes"].items():
        step = case.config["sample"].get(name, 1)
        error = _error(maps[name], case.outputs[name], case.config["output_std"][name], tuple(shape), step)
        yield Comparison(name, error, BACKBONE_NOISE_FACTOR * case.config["float32_noise"][name])


def _check_training_free(case: ReferenceCase, device: torch.device) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        features = training_free_features(case, Path(folder), device)
    expected = case.outputs["features"]
    return Comparison("features", _error(features, expected, float(expected.std())), CATSEG_TOLERANCE)


def _check_catseg(case: ReferenceCase, device: torch.device) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        model = build_catseg(case, Path(folder), device)
    model.set_vocabulary(case.config["test_classes"])
    model.set_train_vocabulary(case.config["train_classes"])
    model.eval()
    with torch.no_grad():
        quantities = _sliding_quantities(model, case)
        quantities |= _whole_quantities(model, case)
    yield from _compare_stored(case, quantities)
    if "trainable" in case.config:
        expected = {CAT_SEG.rename(name) for name in case.config["trainable"]}
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        yield Comparison("trainable parameters (number that differ)", len(expected ^ trained), 0)
    if "train_loss" in case.outputs:
        yield from _check_training(model, case)


def _sliding_quantities(model: CATSeg, case: ReferenceCase) -> dict[str, Tensor]:
    image = torch.from_numpy(case.inputs["image"]).to(model.device)
    height, width = case.config["sliding_output"]
    crops = torch.stack(model.view.split(image))
    text = model.text_features(model.classes)
    quantities = {"text_features_test": text, "sliding_clip_dense": model.dense_features(crops)}
    with _recorded(model) as recorded:
        quantities["sliding_logits"] = model.logits(crops, text)
    quantities |= {f"sliding_{name}": value for name, value in recorded.items()}
    (result,) = model([{"image": image, "height": height, "width": width}])
    return quantities | {"sliding_sem_seg": result["sem_seg"]}


def _whole_quantities(model: CATSeg, case: ReferenceCase) -> dict[str, Tensor]:
    model.view = WholeImage()
    image = torch.from_numpy(case.inputs["square"]).to(model.device)
    height, width = case.config["whole_output"]
    logits = model.logits(image[None].float(), model.text_features(model.classes))
    (result,) = model([{"image": image, "height": height, "width": width}])
    return {"whole_logits": logits, "whole_sem_seg": result["sem_seg"]}


@contextmanager
def _recorded(model: CATSeg) -> Iterator[dict[str, Tensor]]:
    """Record intermediate results of the network, under the reference's names and with its axes."""
    recorded: dict[str, Tensor] = {}
    aggregator = cast(Aggregator, model.sem_seg_head.aggregator)

    def keep_maps(_module: nn.Module, _inputs: tuple[Tensor], output: dict[str, Tensor]) -> None:
        recorded.update({name: maps.clone() for name, maps in output.items()})

    def keep(part: nn.Module, name: str) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
            piece = output.permute(0, 4, 1, 2, 3)  # some crops; (B, T, H, W, D) to (B, D, T, H, W)
            recorded[name] = torch.cat((recorded[name], piece)) if name in recorded else piece.clone()

        return part.register_forward_hook(hook)

    guide = cast(nn.Module, model.backbone or model.clip_pyramid)
    handles = [guide.register_forward_hook(keep_maps), keep(aggregator.cost_embedding, COST_EMBEDDING)]
    for i, layer in enumerate(cast(Iterable[AggregationLayer], aggregator.layers)):
        handles += [keep(layer.spatial, f"spatial_{i}"), keep(layer, f"aggregated_{i}")]
    try:
        yield recorded
        recorded[COST_EMBEDDING] = recorded[COST_EMBEDDING].transpose(1, 2).flatten(0, 1)
    finally:
        for handle in handles:
            handle.remove()


def _check_training(model: CATSeg, case: ReferenceCase) -> Iterator[Comparison]:
    model.train()
    batch = {
        "image": torch.from_numpy(case.inputs["square"]),
        "sem_seg": torch.from_numpy(case.inputs["target"]).long(),
    }
    expected_loss = case.outputs["train_loss"]
    loss = model([batch])["loss_sem_seg"].detach()
    yield Comparison("train_loss", _error(loss, expected_loss, abs(float(expected_loss))), CATSEG_TOLERANCE)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model([batch])["loss_sem_seg"].backward()
        return _named_gradients(model, case)

    found = gradients()
    comparisons = []
    for name, value in found.items():
        expected = case.outputs[name]
        scale = float(expected.std()) if expected.size > 1 else float(np.abs(expected).max())
        comparisons.append((Comparison(name, _error(value, expected, scale), CATSEG_TOLERANCE), scale))
    unclear = [comparison.name for comparison, _ in comparisons if CATSEG_TOLERANCE < comparison.error < np.inf]
    spread = kink_spread(gradients) if unclear else {}
    for comparison, scale in comparisons:
        wider = spread[comparison.name] / scale if comparison.name in unclear else 0.0
        yield replace(comparison, tolerance=CATSEG_TOLERANCE + wider)


def _named_gradients(model: CATSeg, case: ReferenceCase) -> dict[str, Tensor]:
    """The gradients that a case stores, by its names; not a number where the model has none."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = [gradients.get(CAT_SEG.rename(name), MISSING).norm().cpu() for name in case.config["trainable"]]
    keys = [key for key in case.outputs if key.startswith("grad/")]
    whole = {key: gradients.get(CAT_SEG.rename(key.removeprefix("grad/")), MISSING) for key in keys}
    return {"grad_norms": torch.stack(norms), **whole}


def _compare_stored(case: ReferenceCase, quantities: dict[str, Tensor]) -> Iterator[Comparison]:
    """Compare every sampled quantity of the case; one that is not computed here counts as wrong."""
    for name in (key.removesuffix("_stats") for key in case.outputs if key.endswith("_stats")):
        _, deviation, _ = case.outputs[f"{name}_stats"]
        shape, step = tuple(case.outputs[f"{name}_shape"]), int(case.outputs[f"{name}_step"])
        error = float("inf")
        if name in quantities:
            error = _error(quantities[name], case.outputs[name], float(deviation), shape, step)
        yield Comparison(name, error, CATSEG_TOLERANCE)


def _error(
    value: Tensor, expected: np.ndarray, scale: float, shape: tuple[int, ...] | None = None, step: int = 1
) -> float:
    """Largest difference over `scale`; infinite where the shape is wrong or a number is not finite."""
    sample = value.double().cpu().numpy().reshape(-1)[::step]
    if tuple(value.shape) != (shape if shape is not None else expected.shape) or sample.size != expected.size:
        return float("inf")
    difference = np.abs(sample - expected.reshape(-1))
    return float(difference.max() / scale) if np.isfinite(difference).all() else float("inf")
