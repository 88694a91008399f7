"""The example swarm, run once; the last line on stderr says how long it took by itself.

swarm_cost.py starts it, with plain Python or with us: the program is the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent / "examples")

import run_swarm  # noqa: E402 - found by the line above

wall, cpu = time.perf_counter(), time.process_time()
status = asyncio.run(run_swarm.main(sys.argv[1:]))
took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
print(json.dumps(took), file=sys.stderr)
sys.exit(status)
