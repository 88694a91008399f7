"""A swarm whose communication graph is drawn anew in every round, after arXiv 2602.06039."""

import logging

# The library habit: without this, warnings of an unconfigured program end up on its stderr.
logging.getLogger(__name__).addHandler(logging.NullHandler())
