"""What running nodes do when everything around them fails: `make bench-faults`."""
