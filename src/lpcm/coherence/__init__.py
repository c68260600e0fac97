"""The coherence protocol: a store with a cache in front of it, as one tier."""
