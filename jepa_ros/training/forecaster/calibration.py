"""Corrects the predicted uncertainty: `python -m jepa_ros.training.forecaster.calibration --data DIR FILE...`.

Standard deviations fitted on the training scenes are too small, or too large, elsewhere. So three numbers (a factor and an addition to the
standard deviations, and a temperature) are fitted to what networks forecast in scenes that they were not trained on. Given several
leave-one-out forecasters, each is corrected by the forecasts that the others make of the scenes which they left out and it did not, so
that no window of its own left-out scene is used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_ros.forecast.learned import Calibration, LearnedForecaster, covariances_of, read_metadata
from jepa_ros.forecast.mixture import log_density
from jepa_ros.forecast.network import Mixture, TrackNetwork
from jepa_ros.training.forecaster.augment import TableTensors
from jepa_ros.training.forecaster.data import Recording, read_recordings, table_of

ROWS = 300  # windows per recording and noise level
NOISES_M = (0.0, 0.05)
ITERATIONS = 80


@dataclass
class _HeldOut:
    """Forecasts of one unseen recording at one level of noise, with what happened."""

    mixture: Mixture
    future: Tensor  # (N, H, 2) own frame


def calibrate(held_out: list[tuple[TrackNetwork, Recording]], seed: int = 0) -> Calibration:
    """The calibration with the least negative log-likelihood, every pair of a network and a recording unseen by it counting alike."""
    generator = torch.Generator().manual_seed(seed)
    cases = [_forecast(network, recording, noise, generator) for network, recording in held_out for noise in NOISES_M]
    raw = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(ITERATIONS):
        loss = torch.stack([_negative_log_likelihood(case, raw) for case in cases]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scale, added, temperature = _numbers(raw.detach())
    return Calibration(round(float(scale), 4), round(float(added), 4), round(float(temperature), 4))


def _numbers(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return raw[0].exp(), 0.005 * (2 * raw[1]).exp(), raw[2].exp()


def _negative_log_likelihood(case: _HeldOut, raw: Tensor) -> Tensor:
    scale, added, temperature = _numbers(raw)
    mixture = dataclasses.replace(case.mixture, log_sigma=case.mixture.log_sigma + scale.log())
    covariances = covariances_of(mixture, Calibration()) + added.square() * torch.eye(2)
    log_p = (mixture.logits / temperature).log_softmax(dim=1)
    return -log_density(case.future[:, None], mixture.means, covariances, log_p).mean()


@torch.no_grad()
def _forecast(network: TrackNetwork, recording: Recording, noise_m: float, generator: torch.Generator) -> _HeldOut:
    table = table_of(recording, complete_only=True)
    tensors = TableTensors(table)
    tensors.history = tensors.history + noise_m * torch.randn(tensors.history.shape, generator=generator)
    rows = np.flatnonzero(table.complete)
    rows = rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(int)]
    batch = tensors.batch(torch.from_numpy(rows))
    output = network.eval()(*batch.inputs())
    return _HeldOut(output.mixture, output.frames.to_own(batch.future))


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate each file by the others and write it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with splits.json and the recordings of ETH/UCY")
    parser.add_argument("files", type=Path, nargs="+", help="forecasters, most of them trained with a scene left out")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    recordings = read_recordings(args.data)
    facts = {path: json.loads(read_metadata(path)["training"]) for path in args.files}
    forecasters = {path: LearnedForecaster.load(path) for path in args.files}
    held_out = {
        path: [
            (forecasters[other].network, recordings[name])
            for other in args.files
            for name in facts[other]["recordings_left_out"]
            if name in facts[path]["recordings"]
        ]
        for path in args.files
    }
    for path, pairs in held_out.items():
        if not pairs:
            raise ValueError(f"{path}: no other file left out a recording that this one was trained on; give more leave-one-out files")
    for path, pairs in held_out.items():
        calibration = calibrate(pairs)
        LearnedForecaster(forecasters[path].network, calibration, forecasters[path].adapter).save(path, facts[path])
        print(json.dumps({"file": str(path), **dataclasses.asdict(calibration)}))


if __name__ == "__main__":
    main()
