"""The report's tests use the runs that the analysis' tests build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "analyze"))
