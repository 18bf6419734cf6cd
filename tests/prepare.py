"""Prepares this machine for the tests: `make test` runs it before pytest.

Looks for what comes from no Python package (Chromium, Prometheus, Alertmanager, Kustomize) and installs it
where it is absent and that is possible. With CI=true a machine that still lacks one is an error; elsewhere
the tests that need it are skipped, saying so.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = {
    "chromium": CHROMIUM_NAMES,
    "prometheus": ("promtool",),
    "prometheus-alertmanager": ("amtool",),
}
"""Debian packages, and the programs of which one says that it need not be installed."""
GO_MODULES = {"kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.6.0"}
"""Programs that Go builds from a module, pinned."""
_GO_FOLDER = Path("/usr/local/bin")
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
    """Return the packages and modules of which nothing is on the PATH."""
    packages = [package for package, programs in PACKAGES.items() if _first(programs) is None]
    return packages + [program for program in GO_MODULES if shutil.which(program) is None]


def _first(names: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


def can_install() -> bool:
    """Whether this user may install Debian packages here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> None:
    """Install Debian packages and Go modules; what is said meanwhile goes to standard error."""
    for program in GO_MODULES.keys() & set(packages):
        print(f"tests.prepare: go install {GO_MODULES[program]}", flush=True)
        subprocess.run(
            ["go", "install", GO_MODULES[program]],
            env={**os.environ, "GOBIN": str(_GO_FOLDER)},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=_INSTALL_SECONDS,
            check=True,
        )
    packages = [package for package in packages if package in PACKAGES]
    if not packages:
        return
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
        names = ", ".join([*PACKAGES, *GO_MODULES])
        print(f"tests.prepare: {names} are there; the browser test uses {chromium()}")
        return 0
    names = " ".join(absent)
    print(
        f"tests.prepare: not here: {names}. Debian and Ubuntu have packages of these names (for the browser "
        f"test any Chromium or Chrome on the PATH will do); kustomize: go install {GO_MODULES['kustomize']}. "
        "Without them their tests are skipped.",
        file=sys.stderr,
    )
    return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())
