"""Set-up: pip's settings are told to uv, or pip does the work; noise is left out and errors are not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

import pytest
from paths import ROOT


def load_uv_options():
    spec = importlib.util.spec_from_file_location("uv_options", ROOT / "scripts" / "uv_options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.uv_options


def test_mirrors_of_pip_are_mirrors_of_uv():
    uv_options = load_uv_options()
    settings = """
global.index-url='https://mirror.example/simple'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
global.trusted-host='mirror.example'
global.timeout='60'
install.find-links='/wheels'
:env:.find-links='/other/wheels'
:env:.disable-pip-version-check='1'
download.index-url='https://not.for.install'
"""
    assert uv_options(settings) == [
        "--index-url=https://mirror.example/simple",
        "--extra-index-url=https://a.example/simple",
        "--extra-index-url=https://b.example/simple",
        "--allow-insecure-host=mirror.example",
        "--find-links=/other/wheels",
    ]
    assert uv_options("") == []


def test_what_uv_cannot_be_told_is_left_to_pip():
    with pytest.raises(ValueError, match="client-cert"):
        load_uv_options()("global.client-cert='/etc/robot.pem'")


def test_pip_is_told_by_lines_that_matter():
    """The functions of setup.sh, with a pip that says what pip says on a machine with further indexes."""
    source = (ROOT / "scripts" / "setup.sh").read_text()
    body = source[source.index("pip_install() {") : source.index("# uv fetches")]
    fake = r"""
    set -euo pipefail
    cd "$(mktemp -d)"; mkdir -p .venv/bin
    cat >.venv/bin/python <<'PIP'
#!/bin/sh
echo "WARNING: Location 'file:///opt/more/simple/torch/' is ignored: it is neither a file nor a directory." >&2
echo "WARNING: something else" >&2
echo "  Downloading torch-2.13.0-cp311-linux_x86_64.whl (180.2 MB)"
echo "  Downloading small-1.0-py3-none-any.whl (9.1 kB)"
echo "Installing collected packages: a, b, c"
echo "ERROR: no space left" >&2
exit 3
PIP
    chmod +x .venv/bin/python
    """
    done = subprocess.run(["bash", "-c", f"{fake}\n{body}\npip_install torch"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "[setup]   fetching torch-2.13.0-cp311-linux_x86_64.whl (180.2 MB)",
        "[setup]   unpacking 3 packages",
    ]
    assert done.stderr.splitlines() == ["WARNING: something else", "ERROR: no space left"]


@pytest.mark.parametrize("distribution", ["humble", "iron"])
def test_a_ros_that_is_too_old_is_refused_by_name(tmp_path, distribution: str):
    """Before anything is installed or built: by `make build`, and by colcon through CMake. Nodes: `test_ros_process_end.py`."""
    environment = os.environ | {"ROS_DISTRO": distribution}
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    refused = subprocess.run([tmp_path / "scripts" / "setup.sh"], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    lacks, fix = refused.stderr.splitlines()
    assert f"lacks ROS 2 Jazzy, Kilted or Lyrical: ROS 2 {distribution} is sourced" in lacks
    assert "fix: source another one" in fix
    assert not (tmp_path / ".venv").exists()

    text = (ROOT / "CMakeLists.txt").read_text()
    (tmp_path / "refuse.cmake").write_text(text[text.index('if("$ENV{ROS_DISTRO}"') : text.index("find_package")])
    script = ["cmake", "-P", str(tmp_path / "refuse.cmake")]
    refused = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"{distribution} is not supported" in " ".join(refused.stderr.split())
    assert subprocess.run(script, env=environment | {"ROS_DISTRO": "jazzy"}, check=False).returncode == 0
