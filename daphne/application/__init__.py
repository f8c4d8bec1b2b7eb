"""Applications: load the target, its lifespan, and run it once per stream."""
