"""What a machine makes of the world model: latency by stage, training, planning; and how the cost grows with what comes in."""
