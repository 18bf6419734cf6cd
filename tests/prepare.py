"""Prepares this machine for the tests: `make test` runs it before pytest.

Looks for what comes from no Python package (Chromium, Prometheus, Alertmanager) and installs Debian's where
it is absent and that is possible. With CI=true a machine that still lacks one is an error; elsewhere the
tests that need it are skipped, saying so.
"""

import os
import shutil
import subprocess
import sys

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = {
    "chromium": CHROMIUM_NAMES,
    "prometheus": ("promtool",),
    "prometheus-alertmanager": ("amtool",),
}
"""Debian packages, and the programs of which one says that it need not be installed."""
_INSTALL_SECONDS = 600


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome on the PATH, None when there is none."""
    return _first(CHROMIUM_NAMES)


def needed(program: str) -> str:
    """Return the path of a program that a test needs; skip the test without it, or fail it with CI=true."""
    path = shutil.which(program)
    if path is None:
        reason = f"no {program} on the PATH: python -m tests.prepare says how to get it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def missing() -> list[str]:
    """Return the packages of which nothing is on the PATH."""
    return [package for package, programs in PACKAGES.items() if _first(programs) is None]


def _first(names: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


def can_install() -> bool:
    """Whether this user may install Debian packages here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> None:
    """Install Debian packages; what apt-get says goes to standard error."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update", "-q"), ("install", "-y", "-q", "--no-install-recommends", *packages)):
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
    """Return the exit code: 1 when CI lacks something."""
    if (absent := missing()) and can_install():
        try:
            install(absent)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"tests.prepare: {', '.join(absent)} cannot be installed: {error}", file=sys.stderr)
    if not (absent := missing()):
        print(f"tests.prepare: {', '.join(PACKAGES)} are there; the browser test uses {chromium()}")
        return 0
    names = " ".join(absent)
    print(
        f"tests.prepare: not here: {names}. On Debian or Ubuntu: sudo apt-get install {names} (for the "
        "browser test any Chromium or Chrome on the PATH will do). Without them their tests are skipped.",
        file=sys.stderr,
    )
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
