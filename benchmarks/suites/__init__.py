"""The suites, each a module with what ``harness.Suite`` lists."""
