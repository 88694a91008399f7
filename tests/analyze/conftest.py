"""Makes the builders of this folder importable, from here and from the report's tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
