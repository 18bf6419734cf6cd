"""The enrich worker, in a group of its own: python -m bench.worker_process GROUP."""

import sys

from services.enrich.app import run
from shared.settings import load_settings

if __name__ == "__main__":
    sys.exit(run(load_settings(), sys.argv[1]))
