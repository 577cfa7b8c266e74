"""Pictures and films of what was seen, predicted and planned."""
