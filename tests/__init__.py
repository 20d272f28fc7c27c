"""The suites; pytest finds them by name, and they import tests.harness from the root."""
