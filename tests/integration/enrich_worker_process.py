"""An enrichment worker as a process of its own, in a consumer group of the test's: can be killed."""

import sys

from services.enrich.app import run
from shared.settings import load_settings
from shared.telemetry import configure_logging

if __name__ == "__main__":
    settings = load_settings()
    configure_logging("enrich", settings)
    sys.exit(run(settings, group=sys.argv[1]))
