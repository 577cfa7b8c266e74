"""Runs a node of this package as a process of its own and takes it down again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jepa_ros.ros.stopping import PARENT_VARIABLE

STOP_TIMEOUT_S = 15.0


class NodeProcess:
    """A context manager: the node runs inside the block; what it prints goes to `log_folder/NAME.log`."""

    def __init__(
        self,
        name: str,
        parameters: dict[str, Any],
        log_folder: Path,
        remappings: Mapping[str, str] | None = None,
        params_file: Path | None = None,
    ) -> None:
        """params_file: read first; `parameters` win over it."""
        self._name = name
        self._log = log_folder / f"{name}.log"
        self._command = [sys.executable, "-m", "jepa_ros.ros", name, "--ros-args"]
        self._command += ["--params-file", str(params_file)] if params_file else []
        for key, value in parameters.items():
            self._command += ["-p", f"{key}:={str(value).lower() if isinstance(value, bool) else value}"]
        for old, new in (remappings or {}).items():
            self._command += ["-r", f"{old}:={new}"]

    def __enter__(self) -> NodeProcess:
        environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}  # a node left behind would answer for others
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.running():
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def check(self) -> None:
        """Raises RuntimeError with the end of the log where the process has ended on an error."""
        if self._process.poll():
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise RuntimeError(f"{self._name} ended with exit code {self._process.returncode}; the end of {self._log}:\n{tail}")
