"""Several processes, one training: `torchrun --nproc-per-node N -m jepa_ros.training pretrain ...`; alone, everything here does nothing.

Gradients are averaged in one message. Anti-collapse statistics are taken over the tokens of all ranks together: each rank's own statistics
would see its few scenes as the whole world.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather


def start() -> tuple[int, int]:
    """(rank, number of processes); joins the group that torchrun announces in the environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks; a parameter that a rank did not use counts as zero there."""
    if not dist.is_initialized():
        return
    used = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in used]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(used, flat.split([parameter.numel() for parameter in used]), strict=True):
        parameter.grad = mean.view_as(parameter)


def gather_tokens(tokens_KD: Tensor) -> Tensor:
    """(world * K, D) the tokens of all ranks, differentiable. Every rank gives as many: the fewest that any rank has."""
    if not dist.is_initialized():
        return tokens_KD
    fewest = torch.tensor(len(tokens_KD), device=tokens_KD.device)
    dist.all_reduce(fewest, dist.ReduceOp.MIN)
    # all_gather's backward adds up the ranks' gradients and average_gradients divides by their number: each token counts once.
    return torch.cat(all_gather(tokens_KD[: int(fewest)].contiguous()))
