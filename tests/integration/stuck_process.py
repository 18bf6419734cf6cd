"""A service whose work never ends, as a process of its own: python -m ... NAME."""

import sys
import threading
from typing import Any
from unittest.mock import patch

from services.enrich import app as enrich
from services.metrics import app as metrics
from shared.settings import load_settings
from shared.telemetry import configure_logging


def hang(*_: Any) -> Any:
    """Wait for what never comes."""
    threading.Event().wait()


if __name__ == "__main__":
    (service,) = sys.argv[1:]
    settings = load_settings()
    configure_logging(service, settings)
    with patch("services.enrich.app.process", hang), patch("services.metrics.sink.write", hang):
        sys.exit(enrich.run(settings) if service == "enrich" else metrics.run(settings))
