"""The project's own checks: servers, fixtures and the model explorer. Not in the wheel."""
