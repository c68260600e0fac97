"""The table itself: creating and checking it, its permissions and templates."""
