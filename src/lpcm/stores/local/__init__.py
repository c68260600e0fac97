"""Stores in this process: memory, and the rules that it shares with SQLite."""
