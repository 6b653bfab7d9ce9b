"""Fine-tuning that keeps what a model could do before: weights between those it started from and those it was led to.

What is evaluated and kept as the best weights is `alpha` times the trained weights plus `1 - alpha` times those that
the run started from: WiSE-FT, Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv 2109.01903,
equation 1. Training itself goes on with the trained weights alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from catseg.config_checks import check_at_least
from catseg.errors import InputError


def check_alpha(cfg: CfgNode) -> None:
    """Check SOLVER.WISE_FT_ALPHA.

    Raises:
        ValueError: if it is not within 0..1, or below 1 in a run that starts from no weights.
    """
    alpha = cfg.SOLVER.WISE_FT_ALPHA
    check_at_least(0, {"SOLVER.WISE_FT_ALPHA": alpha})
    if alpha > 1:
        raise InputError(f"SOLVER.WISE_FT_ALPHA is {alpha}, expected a share of the trained weights, 0 to 1")
    if alpha < 1 and not cfg.MODEL.WEIGHTS:
        raise InputError(
            f"SOLVER.WISE_FT_ALPHA {alpha} mixes the trained weights with those that the run starts from: name them as "
            "MODEL.WEIGHTS, or leave it at 1"
        )


class StartingWeights:
    """Remembers the weights of a model, and mixes them with what became of them.

    Args:
        model: as it is when training starts. Copies of its trainable parameters and its buffers stay on the CPU.
        alpha: share of the later weights, 0..1.
    """

    def __init__(self, model: nn.Module, alpha: float) -> None:
        self._model = model
        self._alpha = alpha
        self._start = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._changing()}

    @contextmanager
    def mixed(self) -> Iterator[None]:
        """Give the model the mixed weights for a while; afterwards it has the trained ones again, bit for bit."""
        trained = {name: tensor.detach().clone() for name, tensor in self._changing()}
        with torch.no_grad():
            for name, tensor in self._changing():
                start = self._start[name].to(tensor.device)
                tensor.copy_(self._alpha * tensor + (1 - self._alpha) * start)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._changing():
                    tensor.copy_(trained[name])

    def _changing(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what training changes: trainable parameters, and buffers such as the statistics of batch norms."""
        parameters = ((name, tensor) for name, tensor in self._model.named_parameters() if tensor.requires_grad)
        buffers = ((name, tensor) for name, tensor in self._model.named_buffers() if tensor.is_floating_point())
        return chain(parameters, buffers)
