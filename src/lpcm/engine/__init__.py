"""Engines: a store, a cache, a clock and a policy together; and the process's configuration."""
