"""Channel layers: what joins a daphne process to the workers that run the application.

`interface` says what a layer is, `memory`, `local` and `redis` are layers, `adapters` makes one of any
foreign layer. Imports nothing, so that a missing optional package is noticed only by who needs it.
"""
