"""Prepares this machine for the tests: `make test` runs it before pytest.

Looks for a Chromium for the browser test, and installs Debian's when it is absent and that is possible.
With CI=true a machine that still has none is an error; elsewhere the browser test is skipped, saying so.
"""

import os
import shutil
import subprocess
import sys

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS = 600
_BY_HAND = (
    "The browser test needs Chromium. On Debian or Ubuntu: sudo apt-get install chromium "
    "(elsewhere: any Chromium or Chrome on the PATH). Without it that test is skipped."
)


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome on the PATH, None when there is none."""
    found = (shutil.which(name) for name in CHROMIUM_NAMES)
    return next((path for path in found if path), None)


def can_install() -> bool:
    """Whether this user may install Debian packages here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install() -> None:
    """Install Debian's Chromium; what apt-get says goes to standard error."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update", "-q"), ("install", "-y", "-q", "--no-install-recommends", "chromium")):
        print(f"tests.prepare: apt-get {' '.join(arguments)}", flush=True)
        subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=_INSTALL_SECONDS,
            check=True,
        )


def main() -> int:
    """Return the exit code: 1 when CI lacks a Chromium."""
    if chromium() is None and can_install():
        try:
            install()
        except (subprocess.SubprocessError, OSError) as error:
            print(f"tests.prepare: Chromium cannot be installed: {error}", file=sys.stderr)
    if found := chromium():
        print(f"tests.prepare: the browser test uses {found}")
        return 0
    print(f"tests.prepare: {_BY_HAND}", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
