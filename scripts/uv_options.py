"""Prints pip's settings on this machine as options of uv, one a line: uv does not read pip's files, and mirrors stand there.

Exit code 1 and the name of the setting where uv has nothing like it: then pip must do the work.
"""

from __future__ import annotations

import subprocess
import sys

SAME = {"index-url", "extra-index-url", "find-links", "constraint", "no-index"}
HOST = {"trusted-host": "allow-insecure-host"}
NO_MATTER = {  # how pip looks, waits and keeps, not what it installs; certificates go by SSL_CERT_FILE
    "cache-dir", "cert", "compile", "default-timeout", "disable-pip-version-check", "no-cache-dir", "no-color", "no-input",
    "no-warn-script-location", "progress-bar", "quiet", "require-virtualenv", "retries", "root-user-action", "timeout", "verbose",
}  # fmt: skip
FOR_INSTALL = ("global", "install", ":env:")  # as pip reads them: the later wins


def uv_options(settings: str) -> list[str]:
    """Of the output of `pip config list`, "global.index-url='https://...'" a line. Raises ValueError naming what cannot be said to uv."""
    values: dict[str, str] = {}
    lines = [line.partition("=") for line in settings.splitlines() if "=" in line]
    for section in FOR_INSTALL:
        for name, _, value in lines:
            if name.startswith(f"{section}."):
                values[name[len(section) + 1 :]] = value.strip("'\"")
    options = []
    for name, value in values.items():
        option = HOST.get(name, name)
        if name in NO_MATTER:
            continue
        if name not in SAME and name not in HOST:
            raise ValueError(name)
        if name == "no-index":
            options += ["--no-index"] if value.lower() in ("1", "true", "yes", "on") else []
        else:
            # pip's lists are separated by spaces or by lines, which `pip config list` writes as \\n.
            options += [f"--{option}={part}" for part in value.replace("\\n", " ").split()]
    return options


def main() -> int:
    """Entry point of the command line."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    try:
        print("\n".join(uv_options(listed)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
