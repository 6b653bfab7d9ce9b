"""Batch norms in several processes: one normalisation, and the same running statistics everywhere."""

import torch
import torch.distributed
from detectron2.utils import comm
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from catseg.modeling.layers.running_statistics import running_statistics


def synchronise_batch_norms(model: nn.Module) -> None:
    """Make the batch norms that train normalise by the batches of all processes together, which takes GPUs.

    timm's conversion is torch's, and keeps the activations that timm has inside its norms.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and any(p.requires_grad for p in child.parameters(recurse=False)):
                setattr(module, name, convert_sync_batchnorm(child))


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Average the running statistics that are being updated over the processes, so that all have the same network.

    As the statistics are themselves averages over batches, these become the averages over the batches of all processes.
    """
    if comm.get_world_size() == 1:
        return
    buffers = [
        buffer
        for module in model.modules()
        if module.training
        for buffer in running_statistics(module).values()
        if buffer.is_floating_point()
    ]
    if not buffers:
        return
    # In float64 the mean of equal numbers is that number, so that what no process changes stays as it is.
    joined = torch.cat([buffer.flatten().double() for buffer in buffers])
    torch.distributed.all_reduce(joined)
    joined /= comm.get_world_size()
    for buffer, mean in zip(buffers, joined.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
