#!/usr/bin/env bash
# Makes this checkout runnable: a Python environment in .venv and the built workspace in .ros. Run by `make build`; repeats only what changed.
#   apt home: a ROS 2 is sourced (ROS_DISTRO is set). .venv sees its Python packages and adds torch and the like.
#   pip home: no ROS 2. .venv gets ROS 2 Kilted from wheels, and tf2_msgs is built beside jepa_ros because no wheel carries it.
# PYTHON=python3.12 picks the interpreter. Afterwards scripts/env.sh runs commands in what was built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

say() { printf '[setup] %s\n' "$*"; }
lacking() { printf '[setup] this machine lacks %s\n[setup] fix: %s\n' "$1" "$2" >&2; exit 1; }

# Two sessions on one checkout must not write the same environment.
mkdir -p .ros
exec 9>.ros/lock
flock 9

choose_python() {
  local candidate below="(3, 14)" # of the wheels; a sourced ROS 2 brings its own Python, perhaps a newer one
  [ -z "${ROS_DISTRO:-}" ] || below="(4,)"
  for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < '"$below"')' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  lacking "CPython 3.10 to 3.13 (tried: ${PYTHON:-python3 and python3.10 to python3.13})" \
    "sudo apt install python3 python3-venv python3-dev, or name one: make build PYTHON=/path/to/python3.12"
}

check_machine() {
  case ${ROS_DISTRO:-none} in
    none | jazzy | kilted | lyrical | rolling) ;;
    *) lacking "ROS 2 Jazzy, Kilted or Lyrical: ROS 2 $ROS_DISTRO is sourced, which is not supported (docs/install.md says why)" \
      "source another one, or start a shell without ROS 2: it then comes from wheels" ;;
  esac
  command -v c++ >/dev/null || lacking "a C++ compiler" "sudo apt install build-essential"
  command -v cmake >/dev/null || lacking "CMake" "sudo apt install cmake"
  command -v make >/dev/null || lacking "make" "sudo apt install make"
  if [ -z "${ROS_DISTRO:-}" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] ||
      lacking "ROS 2: wheels exist for Linux x86_64 only, this is $(uname -sm)" "install ROS 2 from apt and source its setup.bash first"
  else
    command -v colcon >/dev/null || lacking "colcon" "sudo apt install python3-colcon-common-extensions"
  fi
}

make_venv() {
  local python=$1 free_gb
  free_gb=$(df --output=avail -BG . | tail -1 | tr -dc 0-9)
  [ "$free_gb" -ge 6 ] || lacking "disk space: $free_gb GB free here, the Python environment needs 6 GB" "free some, or clone onto another disk"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || lacking "Python's venv module for $python" "sudo apt install python3-venv"
  "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
    lacking "Python.h of $python, which message packages compile against" "sudo apt install python3-dev"
  say "creating .venv with $("$python" -V)"
  "$python" -m venv ${ROS_DISTRO:+--system-site-packages} .venv
}

# The wheels' CMake files name the machine that they were built on.
relocate_wheels() {
  .venv/bin/python - <<'PYTHON'
import pathlib, re, sysconfig
import numpy
include, numpy_include = sysconfig.get_paths()["include"], numpy.get_include()
for path in pathlib.Path(".venv/share").rglob("*.cmake"):
    text = path.read_text()
    moved = re.sub(r"/opt/python/[^;\"]*/site-packages/numpy/_core/include", lambda _: numpy_include, text)
    moved = re.sub(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+", lambda _: include, moved)
    if moved != text:
        path.write_text(moved)
PYTHON
}

# pip, with what it is busy with on a line each, and without its line about every package that a further index does not have.
pip_install() {
  .venv/bin/python -m pip install --progress-bar off "$@" \
    2> >(grep --line-buffered -v "^WARNING: Location '.*' is ignored" >&2 || true) |
    awk '/^ *Downloading .*\([0-9.]+ [MG]B\)/ { print "[setup]   fetching " $2, $3, $4; fflush() }
         /^Installing collected packages/ { print "[setup]   unpacking " NF - 3 " packages"; fflush() }'
}

# uv fetches and unpacks side by side, in a fifth of pip's time; packages are the same. Nothing of it stays outside .venv.
uv_install() {
  local option options=() cache=.venv/.uv_cache found
  found=$(.venv/bin/python scripts/uv_options.py) || { say "  pip does it: uv knows no such setting as pip's ${found:-above}"; return 1; }
  while IFS= read -r option; do [ -z "$option" ] || options+=("$option"); done <<<"$found"
  .venv/bin/python -m pip install --quiet --quiet uv || return 1
  [ -n "${SSL_CERT_FILE:-}" ] || [ ! -f "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" ] ||
    export SSL_CERT_FILE=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
  # --index-strategy: of all indexes the best version, as pip takes it.
  UV_HTTP_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-180} .venv/bin/uv pip install --quiet --python .venv/bin/python --cache-dir "$cache" \
    --index-strategy unsafe-best-match "${options[@]}" "$@" && rm -rf "$cache"
}

# A line every 15 s while something quiet takes its time.
while_saying() {
  local what=$1 started=$SECONDS ticker
  shift
  say "$what"
  # `read` waits without a process of its own, which would outlive the ticker and hold the lock and the output.
  ( exec 9>&-; while ! read -rt 15; do say "  ... $((SECONDS - started)) s: $what"; done <> <(:) ) &
  ticker=$!
  "$@" && local status=0 || local status=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  return "$status"
}

install_packages() {
  local requirements=(requirements/core.txt requirements/dev.txt) fingerprint
  [ -n "${ROS_DISTRO:-}" ] || requirements+=(requirements/ros.txt)
  fingerprint="${ROS_DISTRO:-pip} $(cat "${requirements[@]}" requirements/engine.txt | sha256sum)"
  [ "$(cat .venv/.jepa_ros 2>/dev/null)" != "$fingerprint" ] || return 0
  if [ -n "${ROS_DISTRO:-}" ]; then
    # The messages of a sourced ROS 2 are compiled against the system's NumPy, so that one must stay.
    say "installing Python packages (torch and others)"
    .venv/bin/python -c 'import numpy; print("numpy==" + numpy.__version__)' >.venv/constraints.txt
    pip_install --constraint .venv/constraints.txt "${requirements[@]/#/--requirement=}"
  else
    while_saying "installing Python packages (torch, ROS 2 and others: 0.6 GB to fetch, 2 GB on disk)" uv_install "${requirements[@]/#/--requirement=}" ||
      { say "uv did not do it (see above); pip takes two or three minutes"; pip_install "${requirements[@]/#/--requirement=}"; }
    relocate_wheels
  fi
  pip_install $([ ! -f .venv/constraints.txt ] || echo --constraint .venv/constraints.txt) --requirement requirements/engine.txt ||
    say "  ONNX Runtime cannot be had here: the model runs in eager torch, some 15 % slower"
  printf '%s' "$fingerprint" >.venv/.jepa_ros
}

# What the build reads: interfaces and build files by content, everything that is only linked into place by name.
build_inputs() {
  sha256sum CMakeLists.txt package.xml action/* msg/* srv/* pip_home/tf2_msgs/{CMakeLists.txt,package.xml,msg/*}
  find jepa_ros launch config weights -type f ! -path '*/__pycache__/*' | sort
}

build_workspace() {
  local packages=(.) fingerprint
  fingerprint="$root ${ROS_DISTRO:-pip} $(build_inputs | sha256sum)"
  [ "$(cat .ros/built 2>/dev/null)" != "$fingerprint" ] || return 0
  say "building the message packages in .ros (C++; about a minute on two cores)"
  if [ -z "${ROS_DISTRO:-}" ]; then
    packages+=(pip_home/tf2_msgs)
    export CMAKE_PREFIX_PATH=$root/.venv AMENT_PREFIX_PATH=$root/.venv
  fi
  export VIRTUAL_ENV=$root/.venv PATH=$root/.venv/bin:$PATH
  # `python -m colcon` would miss a colcon that apt installed for another interpreter.
  # Its warnings are about prefixes without setup files, which wheels are.
  colcon --log-level error --log-base .ros/log build --paths "${packages[@]}" --build-base .ros/build --install-base .ros/install --symlink-install \
    --event-handlers console_direct- --cmake-args -DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=Release -DPython3_EXECUTABLE="$root/.venv/bin/python"
  printf '%s' "$fingerprint" >.ros/built
}

# Else the first node to start would build it, and whoever waits for the node would wait for that.
build_engine() {
  local fingerprint
  fingerprint="$(nproc) $(cat weights/scene_jepa.safetensors requirements/{core,engine}.txt | sha256sum)"
  [ "$(cat .ros/engine 2>/dev/null)" != "$fingerprint" ] || return 0
  .venv/bin/python -c 'import onnx, onnxruntime, onnxscript' 2>/dev/null || return 0
  while_saying "building graphs of the world model for this machine's processor, kept in ${XDG_CACHE_HOME:-~/.cache}/jepa_ros (a quarter of a minute)" \
    scripts/env.sh python - <<'PYTHON' || say "  it did not work; the model runs in eager torch where it must"
import os
import torch
from jepa_ros.backends import load_world_model
torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # as the nodes
load_world_model("scene_jepa", device="cpu").use_engine("auto")
PYTHON
  printf '%s' "$fingerprint" >.ros/engine
}

check_machine
[ -x .venv/bin/python ] || make_venv "$(choose_python)"
install_packages
build_workspace
build_engine
