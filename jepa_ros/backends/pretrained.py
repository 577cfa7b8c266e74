"""Loads Hugging Face directories strictly: every weight in its place, or a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from transformers import PreTrainedModel

Model = TypeVar("Model", bound=PreTrainedModel)


def load_pretrained(kind: type[Model], weights: str, name: str, **options: Any) -> Model:
    """A model of class `kind` from a local directory, or from the hub where `weights` is an id such as facebook/vjepa2-vitl-fpc64-256.

    Nothing is downloaded unless the user wrote a hub id. Raises ValueError for no weights, a missing directory and weights that do not fit.
    """
    if not weights:
        raise ValueError(
            f"{name} ships no weights: give weights:=DIRECTORY in Hugging Face format (python -m jepa_ros.backends.convert {name} "
            "makes one of the published .pt file), or a hub id to download it"
        )
    local = Path(weights).expanduser()
    is_path = local.exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1
    if is_path and not (local / "config.json").is_file():
        raise ValueError(f"{local}: no config.json there; expected a directory in Hugging Face format for {name}")
    try:
        model, report = kind.from_pretrained(
            local if is_path else weights,
            local_files_only=is_path,
            use_safetensors=True,  # never a pickle
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise ValueError(f"{weights}: cannot be loaded as {kind.__name__}: {error}") from error
    faults = [
        f"{what} {sorted(map(str, report[what]))[:3]}"
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(what)
    ]
    if faults:
        raise ValueError(f"{weights}: the weights do not fit {kind.__name__}: {'; '.join(faults)}")
    return model
