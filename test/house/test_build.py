"""What others build on: the installed package as Python, as C++ headers, and as executables."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

generated = pytest.importorskip("jepa_ros.msg", reason="needs the built workspace: run in scripts/env.sh")

NODES = {"world_model", "arm_simulator", "planner", "simulator", "bag_player", "velocity_timeout", "doctor"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONSUMER_CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(consumer)
find_package(jepa_ros REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer ${jepa_ros_TARGETS})
"""
# Links against the type support too, so that a missing export fails here and not on a robot.
CONSUMER_CPP = """
#include <iostream>
#include <jepa_ros/msg/pedestrian_forecast_array.hpp>
#include <jepa_ros/srv/plan_path.hpp>
#include <rosidl_typesupport_cpp/message_type_support.hpp>

int main() {
  jepa_ros::msg::PedestrianForecastArray people;
  people.pedestrians.resize(2);
  jepa_ros::srv::PlanPath::Response response;
  response.status.code = jepa_ros::msg::PlanningStatus::STALE_SENSORS;
  const auto * support = rosidl_typesupport_cpp::get_message_type_support_handle<jepa_ros::msg::LatentState>();
  std::cout << people.pedestrians.size() << ' ' << int(response.status.code) << ' ' << (support != nullptr) << std::endl;
}
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = {**os.environ, "CMAKE_PREFIX_PATH": os.environ["AMENT_PREFIX_PATH"], **variables}
    result = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_a_cpp_package_uses_our_messages(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER_CMAKE)
    (tmp_path / "main.cpp").write_text("#include <jepa_ros/msg/latent_state.hpp>\n" + CONSUMER_CPP)
    run("cmake", "-S", ".", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}", cwd=tmp_path)
    run("cmake", "--build", "build", cwd=tmp_path)
    assert run("build/consumer", cwd=tmp_path).split() == ["2", "2", "1"]


IMPORT_BOTH_HALVES = """
import jepa_ros, jepa_ros.types, jepa_ros.sensing
from jepa_ros.msg import LatentState
from jepa_ros.srv import PlanPath
import jepa_ros.msg
PlanPath.Request()
print(jepa_ros.types.__file__, jepa_ros.msg.__file__, sep="\\n")
"""


def test_source_tree_and_generated_code_are_one_package(tmp_path):
    sources, messages = run(sys.executable, "-c", IMPORT_BOTH_HALVES, cwd=tmp_path, PYTHONPATH=python_path(ROOT)).split()
    assert Path(sources) == ROOT / "jepa_ros" / "types.py"
    assert ROOT / "jepa_ros" not in Path(messages).parents


def test_the_installation_stands_alone(tmp_path):
    """The built workspace of this run (symlinks, in scripts/env.sh), without the source tree in front of it."""
    installed = Path(generated.__file__).parents[1]
    for file in run(sys.executable, "-c", IMPORT_BOTH_HALVES, cwd=tmp_path, PYTHONPATH=python_path(installed.parent)).split():
        assert installed in Path(file).parents
    assert executables(installed.parents[3]) == NODES


def test_installs_whole_without_symlinks(tmp_path):
    """A copy of what git knows, built as a robot would; the checkout is out of reach."""
    source, prefix = tmp_path / "jepa_ros", tmp_path / "install" / "jepa_ros"
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    arguments = ["--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={sys.executable}"]
    run("colcon", "build", "--paths", source, *arguments, cwd=tmp_path)

    share, packages = prefix / "share" / "jepa_ros", next(prefix.glob("**/*-packages/jepa_ros"))
    assert not any(path.is_symlink() for path in prefix.rglob("*"))
    assert executables(prefix) == NODES
    for folder in ("launch", "config", "weights"):
        shipped = {name for name in tracked if name.startswith(f"{folder}/") and (ROOT / name).is_file()}
        assert shipped
        assert {str(path.relative_to(share)) for path in (share / folder).rglob("*") if path.is_file()} == shipped
    shutil.move(source, tmp_path / "gone")
    for file in run(sys.executable, "-c", IMPORT_BOTH_HALVES, cwd=tmp_path, PYTHONPATH=python_path(packages.parent)).split():
        assert packages in Path(file).parents


def executables(prefix: Path) -> set[str]:
    return {path.name for path in (prefix / "lib" / "jepa_ros").iterdir() if os.access(path, os.X_OK)}


def python_path(first: Path) -> str:
    """`first`, then the search path of this run less the checkout and what it built of jepa_ros, unless `first` is the checkout."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in inherited if entry and (first == ROOT or not (Path(entry) / "jepa_ros").is_dir())]
    return os.pathsep.join([str(first), *others])
