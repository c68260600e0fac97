"""What requests-cache's suites for backends need of pytest: nothing but their own conftest."""

pytest_plugins = ["tests.conftest"]
