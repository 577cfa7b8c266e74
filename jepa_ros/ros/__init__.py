"""The ROS 2 side: nodes, messages to values and back. Nothing outside this package imports it."""

import os

# numpy's matrix products are small here. OpenBLAS would split them over all cores, and its threads spin while they wait for each other:
# on a robot whose cores are busy that costs a third of a core. Read when numpy is first imported; what the user has set stays.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
