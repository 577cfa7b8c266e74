"""`distill`: a smaller scene_jepa learns what a larger one knows, for a computer that the larger one is too slow on.

Where it is narrower, it begins with those channels of the wide network that the others can be replaced by (`channel_pruning`), and its
encoder learns to say what the wide encoder says. Where its trunk is shorter, blocks are left out. The encoder, frozen, then encodes past
and future of the training windows, once (`told`). On those the predictor learns, to meet the futures and what the wide model predicts, and
what is read off it: occupancy, whose gradient may go on into the predictor. Everything resumes where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.config import load as load_config
from jepa_ros.config import param, validate
from jepa_ros.training import checkpoint as checkpoints
from jepa_ros.training import losses
from jepa_ros.training.world_model.channel_pruning import Examples, narrow_predictor, narrowed_encoder
from jepa_ros.training.world_model.distillation_data import DistillationBatch, Stored, aligned_history, batches, encoded, tell, write
from jepa_ros.training.world_model.loop import warmed_cosine
from jepa_ros.training.world_model.shard import open_shards
from jepa_ros.training.world_model.windows import Window, Windows, WindowSpec


@dataclass(frozen=True)
class DistillConfig:
    """A run."""

    narrow: int = param(4, "residual blocks of encoder and trunk have so many times fewer channels inside than outside", at_least=1)
    step: int = param(32, "channels of the part that each future step has to itself", at_least=1)
    probe: int = param(16, "hidden channels of the occupancy probe", at_least=1)
    recall: bool = param(False, "whether the trunk reads what was learned of older steps too")
    blocks: tuple[int, int, int] = param((0, 2, 1), "residual blocks of the trunk, see SceneJepaConfig")
    head: int = param(32, "hidden channels of the occupancy head; 0 = none", at_least=0)
    encoder_steps: int = param(4000, "optimiser steps of the encoder", at_least=0)
    stored: int = param(900, "batches that the wide model is asked about", at_least=1)
    steps: int = param(6000, "optimiser steps of predictor and probe", at_least=1)
    batch: int = param(4, "windows per batch", at_least=1)
    targets: int = param(6, "future steps per window", at_least=1)
    fitted: int = param(12, "batches that the first weights are fitted on", at_least=1)
    sensors: tuple[float, float, float] = param((0.48, 0.4, 0.12), "shares of the batches that see lidar alone, both, camera alone")
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.01, "AdamW weight decay", at_least=0.0)
    warmup: int = param(50, "steps to the peak learning rate", at_least=1)
    moving_weight: float = param(3.0, "weight, beside 1, of the prediction error where something has entered or left", at_least=0.0)
    wide_weight: float = param(1.0, "weight of the distance from what the wide model predicts", at_least=0.0)
    occupancy_weight: float = param(1.0, "weight of the occupancy loss", at_least=0.0)
    probe_weight: float = param(3.0, "weight, beside 1, of the head's distance from what the probe says of predicted latents", at_least=0.0)
    read_through: bool = param(True, "whether the occupancy loss reaches the predictor, not only the probe")
    seed: int = param(0, "of everything random", at_least=0)
    bf16: bool = param(True, "compute in bfloat16 where it is safe")
    checkpoint_every: int = param(250, "steps between checkpoints", at_least=1)

    def __post_init__(self) -> None:
        validate(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--config", type=Path, help="YAML file of DistillConfig fields; default: the shipped recipe")
    parser.add_argument("--data", type=Path, required=True, help="dataset written by `prepare`")
    parser.add_argument("--weights", type=Path, help="the wide weights; default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is stored, checkpoints and weights")
    parser.add_argument("--store-only", action="store_true", help="end when the wide model has been asked")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    config = load_config(DistillConfig, args.config) if args.config else DistillConfig()
    wide = load("cpu", args.weights)
    args.out.mkdir(parents=True, exist_ok=True)
    windows = open_windows(wide, args.data, config)
    narrow = begin(wide, windows, args.out, config)
    store(wide, narrow, windows, args.out, config)
    if not args.store_only:
        learn(narrow, args.out, config)


def open_windows(wide: SceneJepa, data: Path, config: DistillConfig) -> Windows:
    """The windows that are drawn."""
    c = wide.config
    spec = WindowSpec(c.history, c.horizon, c.dt_s, config.targets, cameras=1, sensors=config.sensors)
    return Windows(open_shards(data), spec, config.seed, config.batch)


def begin(wide: SceneJepa, windows: Windows, out: Path, config: DistillConfig) -> SceneJepa:
    """The narrow model with a finished encoder, a fitted predictor and a fitted probe, kept in `out`/begun.safetensors."""
    path = out / "begun.safetensors"
    if path.is_file():
        return load("cpu", path)
    chosen = {name: getattr(config, name) for name in ("narrow", "step", "probe", "recall")}
    pruned = dataclasses.replace(wide.config, **chosen)
    model = wide if pruned == wide.config else _pruned(wide, pruned, windows, config)
    model = shortened(model, dataclasses.replace(pruned, blocks=config.blocks, head=config.head), config.seed)
    save(model, path, model.spec.version, {})
    return model


def _pruned(wide: SceneJepa, sizes: SceneJepaConfig, windows: Windows, config: DistillConfig) -> SceneJepa:
    drawn = list(tqdm(batches(windows, 0, config.fitted), desc="draw", total=config.fitted))
    with torch.no_grad():
        scenes = [SceneInput(*(getattr(b.history, name)[:, -1] for name in SceneInput.__dataclass_fields__)) for b in drawn]
        narrow = narrowed_encoder(wide, sizes, scenes)
        print(f"encoder, error of what is learned: {_encoder_error(wide, narrow, drawn):.4f} fitted")
    _learn_encoder(wide.encoder, narrow.encoder, windows, config)
    with torch.no_grad():
        print(f"encoder, error of what is learned: {_encoder_error(wide, narrow, drawn):.4f} learned")
        histories = [aligned_history(model, b) for model in (narrow, wide) for b in drawn]
        half = len(drawn)
        narrow_predictor(wide, narrow, Examples(histories[:half], histories[half:], [b.actions for b in drawn]))
    return narrow


def shortened(model: SceneJepa, sizes: SceneJepaConfig, seed: int) -> SceneJepa:
    """The same weights, without the last residual blocks of each part of the trunk, and with a new occupancy head."""
    torch.manual_seed(seed)
    short = SceneJepa(sizes, model.spec.version).eval().requires_grad_(False)
    known, own = model.state_dict(), short.state_dict()
    moved: dict[str, str] = {}  # where what follows the blocks lies in the longer trunk
    for part, behind, then, now in zip(("stem", "coarse", "fine"), (0, 1, 2), model.config.blocks, sizes.blocks, strict=True):
        first = 0 if part == "fine" else 1
        for place in range(behind):
            moved[f"predictor.{part}.{first + now + place}."] = f"predictor.{part}.{first + then + place}."
    for name in own:
        source = next((longer + name.removeprefix(shorter) for shorter, longer in moved.items() if name.startswith(shorter)), name)
        if not name.startswith("occupancy_head."):
            own[name] = known[source]
    short.load_state_dict(own)
    return short


def store(wide: SceneJepa, narrow: SceneJepa, windows: Windows, out: Path, config: DistillConfig) -> None:
    """Asks the wide model about `config.stored` batches, as far as `out`/told does not hold them."""
    folder = out / "told"
    folder.mkdir(exist_ok=True)
    wanted = [number for number in range(config.fitted, config.fitted + config.stored) if not (folder / f"{number:06}.pt").is_file()]
    for number in tqdm(wanted, desc="store", unit="batch", mininterval=5):
        (batch,) = batches(windows, number, number + 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            write(folder / f"{number:06}.pt", tell(wide, narrow, batch))


def learn(narrow: SceneJepa, out: Path, config: DistillConfig, stop_after: int | None = None) -> SceneJepa:
    """Predictor and probe; leaves `out`/scene_jepa.safetensors. stop_after: end with this step, as if killed there."""
    learned = [parameter for name, parameter in narrow.named_parameters() if not name.startswith("encoder.")]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    path, first = out / "checkpoint.pt", 0
    if path.is_file():
        state = checkpoints.read(path)
        narrow.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        first = state.step
    stored = Stored(out / "told", config.seed)
    loader = torch.utils.data.DataLoader(stored, batch_size=None, sampler=range(first, min(config.steps, stop_after or config.steps)))
    bar = tqdm(loader, initial=first, total=config.steps, desc="distill", unit="step", mininterval=10)
    started_s = time.process_time()
    for step, told in enumerate(bar, start=first):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmed_cosine(step, config.steps, config.warmup)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            loss, scalars = loss_of(narrow, told, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        with (out / "scalars.csv").open("a") as file:
            file.writelines(f"{step},{name},{value:.6g}\n" for name, value in scalars.items())
        spent_s = (time.process_time() - started_s) / (step - first + 1)
        bar.set_postfix({**{name: f"{value:.3f}" for name, value in scalars.items()}, "cpu": f"{spent_s:.2f}"}, refresh=False)
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            checkpoints.write(
                path, checkpoints.Checkpoint(step + 1, narrow.state_dict(), optimizer.state_dict(), dataclasses.asdict(config))
            )
            about = {"steps": step + 1, "stored": len(stored), **scalars}
            save(narrow, out / "scene_jepa.safetensors", f"narrow-{step + 1}", about)
    return narrow


def loss_of(model: SceneJepa, told: DistillationBatch, config: DistillConfig) -> tuple[Tensor, dict[str, float]]:
    """What predictor and probe descend."""
    predicted, logits = model.futures(told.history_BTDYX, told.actions_BHA, told.steps_S, config.read_through)
    weight = told.weight_BSYX * (1 + config.moving_weight * told.moving_BSYX)
    # What the wide model says counts everywhere, where no sweep looks too; what moves counts more here as well.
    as_wide = losses.prediction_loss(predicted, told.wide_BSDYX, 1 + config.moving_weight * told.moving_BSYX)
    prediction = losses.prediction_loss(predicted, told.target_BSDYX, weight)
    read = torch.cat([told.history_BTDYX[:, -1:], predicted if config.read_through else predicted.detach()], dim=1)
    by_probe = model.occupancy_probe(read.flatten(0, 1)).unflatten(0, read.shape[:2])
    probed = losses.occupancy_loss(by_probe, told.occupied_BSYX, told.visible_BSYX)
    occupancy = losses.occupancy_loss(logits, told.occupied_BSYX[:, 1:], told.visible_BSYX[:, 1:])
    # What the probe reads off the predicted latents tells the head of every cell, where no sweep looks too, and by degrees.
    as_probed = F.binary_cross_entropy_with_logits(logits.float(), by_probe[:, 1:].detach().float().sigmoid())
    read_off = probed if model.occupancy_head is None else probed + occupancy + config.probe_weight * as_probed
    loss = prediction + config.wide_weight * as_wide + config.occupancy_weight * read_off
    scalars = {"prediction": prediction, "as_wide": as_wide, "probed": probed, "occupancy": occupancy, "as_probed": as_probed}
    return loss, {name: value.item() for name, value in scalars.items()}


def _learn_encoder(wide: SceneEncoder, narrow: SceneEncoder, windows: Windows, config: DistillConfig) -> None:
    """Says what the wide encoder says; what reads images stays as it is."""
    fixed = {id(parameter) for part in (narrow.camera, narrow.columns) if part is not None for parameter in part.parameters()}
    learned = [parameter for parameter in narrow.parameters() if id(parameter) not in fixed]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    numbers = range(config.fitted, config.fitted + config.encoder_steps)
    bar = tqdm(batches(_single(windows), numbers.start, numbers.stop), total=len(numbers), desc="encoder", mininterval=10)
    for step, batch in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmed_cosine(step, config.encoder_steps, config.warmup)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            with torch.no_grad():
                wanted = encoded(wide, batch.history)
            error = _error(encoded(narrow, batch.history), wanted, narrow.grounded)
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        bar.set_postfix(error=f"{error.item():.4f}", refresh=False)
    narrow.requires_grad_(False)


def _single(windows: Windows) -> Windows:
    """The same windows by themselves: all their frames are seen."""
    return Windows(windows.shards, dataclasses.replace(windows.spec, targets=1), windows.seed + 1, 1)


def _error(said: Tensor, wanted: Tensor, grounded: int) -> Tensor:
    """Mean squared, of what is learned; of guesses too where there is no lidar."""
    error = (said.float() - wanted.float()).square()
    return error[:, :, grounded:].mean() + 0.1 * error[:, :, :grounded].mean()


def _encoder_error(wide: SceneJepa, narrow: SceneJepa, drawn: list[Window]) -> float:
    errors = [_error(encoded(narrow.encoder, b.history), encoded(wide.encoder, b.history), narrow.encoder.grounded) for b in drawn]
    return float(sum(errors)) / len(errors)
