"""What can be known before a program runs: what its rules reach, what they could name, what is in the way."""
