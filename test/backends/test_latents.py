"""Tokens and the cells that they hold: laid out as torch's pixel shuffle does, and back."""

import torch
import torch.nn.functional as F

from jepa_ros.backends.scene_jepa.latents import TOKENS, from_cells, to_cells


def test_cells_lie_as_pixel_shuffle_lays_them_and_come_back() -> None:
    latents = [torch.randn(TOKENS[0] * TOKENS[1], 40, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    observed = [latent[:, :20] for latent in latents]  # part of a latent, as a model passes it on
    maps = torch.stack([latent.T.reshape(20, *TOKENS) for latent in observed])
    torch.testing.assert_close(to_cells(observed), F.pixel_shuffle(maps, 2), rtol=0, atol=0)
    torch.testing.assert_close(from_cells(to_cells(observed)), maps, rtol=0, atol=0)
