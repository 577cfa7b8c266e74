"""Will this grip hold if I lift like that? World, model, probes, carries."""
