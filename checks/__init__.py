"""What holds the project itself up: servers, fixtures and the model explorer; not in the wheel."""
