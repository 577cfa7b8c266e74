"""What the launch files share. Needs launch, which only a sourced ROS 2 has: nothing but launch files imports this."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from launch.actions import RegisterEventHandler
from launch.event_handlers import OnShutdown


def stop_with_launch(process: Any) -> RegisterEventHandler:
    """SIGINT to a process as soon as launch shuts down.

    launch itself leaves that to the terminal where it was ended by SIGINT. A script, a container or an IDE that signals launch alone has
    no terminal: the nodes would go on, and drive, until the time for SIGTERM comes.
    """

    def stop(*_: Any) -> None:
        details = process.process_details
        if details is not None:
            with suppress(ProcessLookupError, KeyError):
                os.kill(details["pid"], signal.SIGINT)

    return RegisterEventHandler(OnShutdown(on_shutdown=stop))
