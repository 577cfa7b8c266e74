"""jepa_ros: JEPA world models for ROS 2: camera and lidar in; predicted futures, people's paths and plans out."""

# The build installs generated messages under the same package name; this lets both folders serve one package.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)

from jepa_ros.version import find_version

__version__ = find_version()
