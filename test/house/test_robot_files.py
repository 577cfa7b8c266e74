"""Files for robots: what the container, the compose file and the service name exists, and they say what the documentation promises."""

import re
import shutil
import subprocess

import pytest
import yaml
from paths import ROOT

SERVICE = ROOT / "config" / "systemd" / "jepa_ros.service"


def test_the_container_copies_and_installs_what_is_there() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert (ROOT / re.search(r"-r src/jepa_ros/(\S+)", text)[1]).is_file()
    entry = ROOT / "docker" / "entry.sh"
    assert entry.stat().st_mode & 0o111, "it must be executable"
    assert 'exec "$@"' in entry.read_text(), "or signals do not reach the nodes, and nobody stops the robot"
    skipped = re.search(r'--skip-keys "([^"]*)"', text)[1].split()
    assert skipped == re.search(r'--skip-keys "([^"]*)"', (ROOT / ".github/workflows/ci.yml").read_text())[1].split()


def test_the_compose_file_gives_the_nodes_shared_memory_and_time_to_stop() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert service["ipc"] == "host"
        assert service["network_mode"] == "host"
        assert service["stop_signal"] == "SIGINT"
        assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert (ROOT / "launch" / services["jepa_ros"]["command"].split()[-1]).is_file()


@pytest.mark.parametrize(
    ("release", "variable"), [("jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE"), ("kilted", "FASTDDS_DEFAULT_PROFILES_FILE")]
)
def test_the_container_tells_fast_dds_its_profile_by_the_name_that_the_release_reads(release: str, variable: str) -> None:
    entry = [str(ROOT / "docker" / "entry.sh"), "bash", "-c", f"echo ${variable}"]
    told = subprocess.run(entry, capture_output=True, text=True, timeout=10, env={"PATH": "/usr/bin:/bin", "ROS_DISTRO": release}).stdout
    assert (ROOT / told.strip().split("/share/jepa_ros/")[1]).is_file()
    own = subprocess.run(
        entry, capture_output=True, text=True, timeout=10, env={"PATH": "/usr/bin:/bin", "ROS_DISTRO": release, variable: "/mine.xml"}
    ).stdout
    assert own.strip() == "/mine.xml"


def test_systemd_takes_the_service() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    done = subprocess.run(["systemd-analyze", "verify", str(SERVICE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert SERVICE.name not in done.stderr, done.stderr
    assert "KillSignal=SIGINT" in SERVICE.read_text()
