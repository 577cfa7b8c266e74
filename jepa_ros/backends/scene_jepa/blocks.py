"""Convolutional building blocks. Plain 3 x 3 convolutions: per multiply-add they run three times as fast on a CPU as depthwise ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively, and torch may use it (ATEN_CPU_CAPABILITY=avx2 forbids it)."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of (B, C, Y, X): knows no batch, so one sparse scene does not shift another."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """x + f(x), f starting at zero: a deeper network begins as a shallower one."""

    def __init__(self, channels: int, narrow: int = 1) -> None:
        """narrow: so many times fewer channels inside."""
        super().__init__()
        inner = channels // narrow
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.second = nn.Conv2d(inner, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(self.norm(x))))


def down(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Halve the resolution."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)


class Up(nn.Module):
    """Double the resolution by pixel shuffle."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels_in, 4 * channels_out, 1)

    def forward(self, x: Tensor, channels: slice = slice(None)) -> Tensor:
        """channels: which of those that come out are computed."""
        # A matrix product over channels-last memory, written once where pixel shuffle puts it: as a convolution it is slow on a CPU.
        assert self.project.bias is not None
        # Place by place of the four, so that channels stay together in memory, in what comes in as in what goes out.
        weight = self.project.weight.flatten(1).unflatten(0, (-1, 4))[channels].transpose(0, 1).flatten(0, 1)
        bias = self.project.bias.unflatten(0, (-1, 4))[channels].transpose(0, 1).flatten()
        projected = F.linear(x.permute(0, 2, 3, 1), weight, bias)
        batch, rows, columns, _ = projected.shape
        cells = projected.view(batch, rows, columns, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        return cells.reshape(batch, 2 * rows, 2 * columns, -1).permute(0, 3, 1, 2)
