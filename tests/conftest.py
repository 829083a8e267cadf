"""What every test needs: the harness on the path, and one hypothesis profile."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("adam", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("adam")
