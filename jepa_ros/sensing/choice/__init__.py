"""Which topics are the sensors: judged by what they carry, by one rule for bags and for live topics."""
