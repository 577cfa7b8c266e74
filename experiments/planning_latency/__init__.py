"""How long a plan takes, alone (`make bench-planning-latency`) and under load (`make bench-planning-load`)."""
