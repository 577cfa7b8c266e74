"""Installs the ROS-free core with pip, for training machines and notebooks. A robot builds the whole package with colcon."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

# Where jepa_ros.weights looks below the prefix of the installation.
WEIGHTS = sorted(path for path in Path("weights").rglob("*") if path.is_file())
# package.xml is where ROS release tools raise it.
VERSION = ElementTree.parse("package.xml").findtext("version")

setup(
    name="jepa_ros",
    version=VERSION,
    description="JEPA world models for ROS 2: scene latents, occupancy and pedestrian forecasts, planning",
    license="Apache-2.0",
    packages=find_packages(include=["jepa_ros", "jepa_ros.*"], exclude=["jepa_ros.ros", "jepa_ros.ros.*"]),
    package_data={"jepa_ros": ["py.typed", "viz/report/page.html"]},
    data_files=[(f"share/jepa_ros/{path.parent}", [str(path)]) for path in WEIGHTS],
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.24",
        "pyyaml",
        "rosbags>=0.11",
        "rosbags-image[opencv-headless]>=0.10",
        "safetensors",
        "scipy",
        "threadpoolctl",
        "torch>=2.2",
        "tqdm",
    ],
    extras_require={
        "hub": ["transformers>=5.0"],
        "sim": ["mujoco>=3.1"],
        "viz": ["matplotlib", "pillow"],
        # `make demo` then leaves output.rrd, too; 0.5 GB on disk.
        "rerun": ["rerun-sdk>=0.41"],
        "train": ["tensorboard"],
        # `engine:=onnxruntime`: the static part of the world model as one graph on a processor.
        "engine": ["onnxruntime>=1.20", "onnx>=1.16", "onnxscript>=0.2"],
        # `pipeline.camera.detector`: cameras vote on people; onnx is for `make camera-detector` alone.
        "camera": ["onnxruntime>=1.20", "onnx>=1.16"],
        "ray": ["ray>=2.10"],
        "mcp": ["mcp>=2.0"],
        # Of the bench's environment, which itself is installed with --no-deps: requirements/two_room.txt says why.
        "two-room": ["gymnasium>=1.0,<2", "loguru>=0.7", "einops>=0.8", "lancedb>=0.30,<1", "imageio>=2.30"],
    },
)
