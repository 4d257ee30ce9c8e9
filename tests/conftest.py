"""For all tests: repeatable examples, and, where torch is installed, the fixtures of `fixtures/nets.py`."""

import os
from importlib.util import find_spec

from hypothesis import settings

# Before torch is loaded, for this process and those that tests start: tiny nets are faster on one thread, and two
# workers share two cores without getting in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# Reading and writing files needs no torch, and neither do their tests: `make test-io-newest` runs them without it.
pytest_plugins = ["fixtures.nets"] if find_spec("torch") else []
