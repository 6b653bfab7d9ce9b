"""One optimizer step: batches in, losses out, weights changed."""

import logging
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from catseg.config_checks import check_at_least
from catseg.engine.batch_norms import average_statistics
from catseg.engine.training_stream import TrainingStream
from catseg.errors import InputError, NotFiniteError

AUTOCAST_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

logger = logging.getLogger(__name__)


def step_options(cfg: CfgNode) -> dict[str, Any]:
    """Read from a config what is left to choose of a `TrainingStep`.

    Returns:
        Its arguments "device", "autocast_dtype" and "accumulation_steps".

    Raises:
        ValueError: if SOLVER.AMP.DTYPE is unknown or not for MODEL.DEVICE, or SOLVER.ACCUMULATION_STEPS is below 1.
    """
    check_at_least(1, {"SOLVER.ACCUMULATION_STEPS": cfg.SOLVER.ACCUMULATION_STEPS})
    amp, device = cfg.SOLVER.AMP, torch.device(cfg.MODEL.DEVICE)
    if amp.DTYPE not in AUTOCAST_DTYPES:
        raise InputError(f"SOLVER.AMP.DTYPE is {amp.DTYPE!r}, expected one of {list(AUTOCAST_DTYPES)}")
    if amp.ENABLED and amp.DTYPE == "float16" and device.type == "cpu":
        raise InputError("SOLVER.AMP.DTYPE float16 needs a GPU: on a CPU use bfloat16, or set SOLVER.AMP.ENABLED False")
    return {
        "device": device,
        "autocast_dtype": AUTOCAST_DTYPES[amp.DTYPE] if amp.ENABLED else None,
        "accumulation_steps": cfg.SOLVER.ACCUMULATION_STEPS,
    }


class TrainingStep:
    """Runs optimizer steps on a model, with mixed precision and gradient accumulation.

    Args:
        model: takes a batch and returns a dict of scalar losses, each a mean over its batch; may be wrapped in
            `DistributedDataParallel`.
        optimizer: over the model's trained parameters.
        data_loader: endless batches of `stream`.
        stream: told of each consumed batch; seeds the model's randomness.
        device: where the model is.
        autocast_dtype: bfloat16 or float16 for mixed precision, None for float32.
        accumulation_steps: batches per step; the gradient is the mean of theirs.

    Attributes:
        model: as given; so are `optimizer` and `data_loader`.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: DataLoader,
        stream: TrainingStream,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
        accumulation_steps: int = 1,
    ) -> None:
        model.train()
        self.model = model
        self.optimizer = optimizer
        self.data_loader = data_loader
        self._stream = stream
        self._batches: Any = None
        self._device = device
        self._autocast_dtype = autocast_dtype
        self._accumulation_steps = accumulation_steps
        # Only float16 has too narrow a range for gradients; a scaler that is not enabled does nothing.
        self._scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype == torch.float16)

    def run(self) -> dict[str, float]:
        """Take the next batches and change the weights once.

        Returns:
            The losses, means over the batches and processes, and "data_time", the longest wait of a process for its
            data in seconds.

        Raises:
            FloatingPointError: in every process, if the loss of one or a gradient is not finite; the weights are then
                unchanged. With float16, gradients may overflow because of the loss scale: such steps are left out,
                with a warning, until lowering it to 1 has not helped.
        """
        metrics: dict[str, float] = defaultdict(float)
        self.optimizer.zero_grad(set_to_none=True)
        for index in range(self._accumulation_steps):
            start = time.perf_counter()
            batch = self._next_batch()
            metrics["data_time"] += time.perf_counter() - start
            self._stream.seed_step()
            with self._gradient_exchange(last=index == self._accumulation_steps - 1):
                losses = self._forward(batch)
                self._scaler.scale(torch.stack(list(losses.values())).sum()).backward()
            self._stream.advance()
            for name, loss in losses.items():
                metrics[name] += loss.item()
        reduced = _reduce(metrics)
        if not np.isfinite(list(reduced.values())).all():
            shown = ", ".join(f"{name} {value}" for name, value in reduced.items() if name != "data_time")
            raise NotFiniteError(f"the loss is not finite ({shown})")
        self._scaler.unscale_(self.optimizer)  # does nothing if it is not enabled, like the other two
        self._check_gradients()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        average_statistics(self.model)
        return reduced

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer, of the loss scaler and of the data."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "grad_scaler": self._scaler.state_dict(),
            "data": self._stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned; to be called before the first step."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["grad_scaler"]:  # empty if the run that wrote it used no scaler
            self._scaler.load_state_dict(state["grad_scaler"])
        self._stream.load_state_dict(state["data"])

    def _next_batch(self) -> Any:
        if self._batches is None:  # not before the stream knows where to start
            self._batches = iter(self.data_loader)
        return next(self._batches)

    def _forward(self, batch: Any) -> dict[str, torch.Tensor]:
        enabled = self._autocast_dtype is not None
        with torch.autocast(self._device.type, dtype=self._autocast_dtype, enabled=enabled):
            losses = self.model(batch)
        return {name: loss / self._accumulation_steps for name, loss in losses.items()}

    def _check_gradients(self) -> None:
        """Look at the gradients before they are clipped, which hides or spreads what is not finite in them."""
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        # The largest magnitude: the sum of squares of finite gradients may overflow.
        if nn.utils.get_total_norm(list(gradients.values()), float("inf")).isfinite():
            return
        scale = self._scaler.get_scale()
        if scale > 1:  # 1 too if the scaler is not enabled
            logger.warning("float16 gradients overflow at a loss scale of %g: this step is left out", scale)
            return
        wrong = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        example = wrong[0].removeprefix("module.")  # of `DistributedDataParallel`
        raise NotFiniteError(f"{len(wrong)} of {len(gradients)} gradients are not finite, as that of {example}")

    def _gradient_exchange(self, *, last: bool) -> AbstractContextManager[Any]:
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def _reduce(metrics: dict[str, float]) -> dict[str, float]:
    gathered = comm.all_gather(dict(metrics))
    reduced = {name: float(np.mean([each[name] for each in gathered])) for name in metrics}
    reduced["data_time"] = max(each["data_time"] for each in gathered)
    return reduced
