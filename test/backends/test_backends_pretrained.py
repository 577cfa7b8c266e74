"""Published checkpoint formats: converted, loaded strictly, and equal to the reference implementations' numbers.

`resources/golden_jepa.json` holds 24 values of each output, computed with facebookresearch/vjepa2 and facebookresearch/ijepa on the weights
and inputs of `checkpoint_maker`.
"""

import json
import pickle
import shutil
from pathlib import Path

import checkpoint_maker as maker
import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'jepa_ros[hub]'")

from paths import RESOURCES
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from jepa_ros.backends import load_world_model
from jepa_ros.backends.checkpoints import load_strictly, read_checkpoint
from jepa_ros.backends.convert import convert_ijepa, convert_vjepa2, convert_vjepa2_ac, main
from jepa_ros.backends.vjepa2_ac.model import PREDICTOR_FILE
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, EgoState, Observation

GOLDEN = json.loads((RESOURCES / "golden_jepa.json").read_text())
PATCHES = (maker.IMAGE // maker.PATCH) ** 2


def assert_golden(output: torch.Tensor, name: str) -> None:
    flat = output.detach().flatten()
    picked = flat[torch.linspace(0, len(flat) - 1, 24).long()]
    np.testing.assert_allclose(picked.numpy(), GOLDEN[name], atol=1e-4)


@pytest.fixture(scope="module")
def vjepa2_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vjepa2")
    convert_vjepa2(maker.save_vjepa2(folder / "vitx.pt"), folder / "hf", heads=maker.HEADS)
    return folder / "hf"


@pytest.fixture(scope="module")
def ijepa_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ijepa")
    convert_ijepa(maker.save_ijepa(folder / "ijepa.pth.tar"), folder / "hf", heads=maker.HEADS)
    return folder / "hf"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, vjepa2_folder, ijepa_folder) -> dict[str, Path]:
    ac = tmp_path_factory.mktemp("vjepa2_ac")
    convert_vjepa2_ac(maker.save_vjepa2_ac(ac / "ac.pt"), ac, heads=maker.HEADS)
    return {"vjepa2": vjepa2_folder, "vjepa2_ac": ac, "ijepa": ijepa_folder}


@torch.inference_mode()
def test_vjepa2_encoder_and_predictor_equal_the_reference(vjepa2_folder):
    from transformers import VJEPA2Model

    model = VJEPA2Model.from_pretrained(vjepa2_folder).eval()
    clip_BTCHW = maker.wave((1, 3, 8, maker.IMAGE, maker.IMAGE), 0.5).transpose(1, 2)
    past, future = torch.arange(2 * PATCHES)[None], torch.arange(2 * PATCHES, 4 * PATCHES)[None]
    output = model(pixel_values_videos=clip_BTCHW, context_mask=[past], target_mask=[future])
    assert_golden(output.last_hidden_state, "vjepa2_encoder")
    assert_golden(output.predictor_output.last_hidden_state, "vjepa2_predictor")


@torch.inference_mode()
def test_ijepa_encoder_equals_the_reference(ijepa_folder):
    from transformers import IJepaModel

    model = IJepaModel.from_pretrained(ijepa_folder, add_pooling_layer=False).eval()
    image = maker.wave((1, 3, maker.IJEPA_IMAGE, maker.IJEPA_IMAGE), 0.5)
    assert_golden(model(pixel_values=image).last_hidden_state, "ijepa_encoder")


@pytest.mark.parametrize("use_extrinsics", [False, True], ids=["plain", "extrinsics"])
@pytest.mark.parametrize("steps", range(1, 9))
@torch.inference_mode()
def test_action_conditioned_predictor_equals_the_reference_also_with_a_cached_context(steps, use_extrinsics):
    sizes = PredictorConfig(
        encoder_width=maker.WIDTH, width=maker.AC_WIDTH, depth=maker.AC_DEPTH, heads=2, grid=4, use_extrinsics=use_extrinsics
    )
    model = ActionConditionedPredictor(sizes).eval()
    load_strictly(model, maker.ac_predictor(), "golden weights")
    latents = maker.wave((1, steps * PATCHES, maker.WIDTH), 1.0).unflatten(1, (steps, PATCHES))
    actions, states, extrinsics = (maker.wave((1, steps, width), phase) for width, phase in ((7, 2.0), (7, 3.0), (6, 4.0)))
    name = f"ac_predictor_{'extrinsics' if use_extrinsics else 'plain'}_{steps}"
    whole = model(latents, actions, states, extrinsics)
    assert_golden(whole, name)
    context, parts = None, []
    for step in range(steps):
        now = slice(step, step + 1)
        part, context = model.extend(context, latents[:, now], actions[:, now], states[:, now], extrinsics[:, now])
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_ac_checkpoint_converts_and_loads_with_its_unused_extrinsics_weights(tmp_path):
    convert_vjepa2_ac(maker.save_vjepa2_ac(tmp_path / "ac.pt"), tmp_path / "out", heads=maker.HEADS)
    weights = load_file(tmp_path / "out" / PREDICTOR_FILE)
    torch.testing.assert_close(weights["extrinsics_encoder.weight"], maker.ac_predictor()["extrinsics_encoder.weight"])


@pytest.mark.parametrize("part", ["encoder", "target_encoder", "ema_encoder"])
def test_every_published_name_of_the_encoder_is_found(part, tmp_path):
    convert_vjepa2(maker.save_vjepa2(tmp_path / "vitx.pt", encoder_part=part), tmp_path / "hf", heads=maker.HEADS)
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def damaged(kind: str, path: Path) -> None:
    """A V-JEPA 2 file with one thing wrong."""
    content = torch.load(maker.save_vjepa2(path), weights_only=True)
    encoder = content["target_encoder"]
    if kind == "missing key":
        del encoder["module.backbone.blocks.1.mlp.fc1.bias"]
    elif kind == "unexpected key":
        encoder["module.backbone.cls_token"] = torch.zeros(1)
    elif kind == "wrong width":
        encoder["module.backbone.norm.weight"] = torch.ones(maker.WIDTH + 1)
    elif kind == "V-JEPA 2.1":
        encoder["module.backbone.norms_block.0.weight"] = torch.ones(maker.WIDTH)
    elif kind == "no encoder":
        del content["target_encoder"]
    torch.save(content, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing key", "missing encoder.layer.1.mlp.fc1.bias"),
        ("unexpected key", "unexpected encoder.cls_token"),
        ("wrong width", r"encoder.layernorm.weight is \(97,\)"),
        ("V-JEPA 2.1", "only V-JEPA 2 can be converted"),
        ("no encoder", "target_encoder"),
        ("truncated", "not a readable checkpoint"),
    ],
)
def test_a_damaged_file_is_refused_and_says_why(kind, said, tmp_path):
    damaged(kind, tmp_path / "vitx.pt")
    with pytest.raises(ValueError, match=said):
        convert_vjepa2(tmp_path / "vitx.pt", tmp_path / "hf", heads=maker.HEADS)
    assert not (tmp_path / "hf").exists()


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("code_ran"),))


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": Malicious()}, "evil.pt")
    Path("plain.pt").write_bytes(pickle.dumps({"encoder": Malicious()}))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(ValueError, match="refused"):
            read_checkpoint(name)
    assert not Path("code_ran").exists()


def test_the_command_says_what_is_wrong_and_exits_with_1(tmp_path, capsys):
    assert main(["vjepa2", str(tmp_path / "nothing.pt"), str(tmp_path / "out")]) == 1
    assert "nothing.pt: no such checkpoint file" in capsys.readouterr().err


def camera_observation(step: int) -> Observation:
    stamp_ns = step * NANOSECONDS // 2
    rgb = np.full((90, 160, 3), 20 * step, np.uint8)
    camera = CameraImage(stamp_ns, "camera", rgb, CameraModel(160, 90, np.eye(3), np.zeros(0)), np.eye(4))
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), cameras=(camera,))


@pytest.mark.parametrize("name", ["vjepa2", "vjepa2_ac", "ijepa"])
@torch.inference_mode()
def test_the_back_ends_honour_the_seam(name, folders):
    model = load_world_model(name, device="cpu", weights=str(folders[name]))
    spec = model.spec
    latents = torch.cat([model.encode(camera_observation(step)) for step in range(spec.history)])
    assert latents.shape == (spec.history, *spec.latent_shape)
    predicted = model.predict(latents[None], torch.zeros(1, spec.horizon, spec.action_dim or 3))
    assert predicted.shape == (1, spec.horizon, *spec.latent_shape)
    assert predicted.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "missing"),
        ("unexpected", "unexpected.*surplus"),
        ("wide", "mismatched|configuration needs"),
        ("truncated", "cannot be loaded|is not a safetensors file"),
        ("pickle", "no file named|no predictor.safetensors"),
    ],
)
@pytest.mark.parametrize("name", ["vjepa2", "vjepa2_ac", "ijepa"])
def test_a_damaged_folder_is_refused_and_says_why(name, kind, said, folders, tmp_path):
    folder = shutil.copytree(folders[name], tmp_path / "folder")
    file = folder / (PREDICTOR_FILE if name == "vjepa2_ac" else "model.safetensors")
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(file)
    key = next(key for key, value in weights.items() if value.ndim == 1)
    if kind == "missing":
        del weights[key]
    elif kind == "unexpected":
        weights["surplus"] = torch.zeros(1)
    elif kind == "wide":
        weights[key] = torch.zeros(len(weights[key]) + 1)
    save_file(weights, file, metadata=metadata)
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif kind == "pickle":
        file.unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=said):
        load_world_model(name, device="cpu", weights=str(folder))


@pytest.mark.parametrize(("weights", "said"), [("", "ships no weights"), ("/no/such/folder", "no config.json")])
def test_missing_weights_say_how_to_get_them(weights, said):
    with pytest.raises(ValueError, match=said):
        load_world_model("vjepa2", device="cpu", weights=weights)
