"""Planning from pixels on stable-worldmodel's TwoRoom: `make bench-two-room`."""
