"""Engines: a store, a cache, a clock and a policy composed; what the process has configured."""
