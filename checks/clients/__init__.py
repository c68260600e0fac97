"""Other projects' own test suites, run over the modules of docs/howto/under-other-libraries.md.

``python -m checks.clients [PROJECT ...] [--store STORE ...]`` fetches each project's pinned source
distribution from the package registry (``sdists``), unpacks it into a temporary directory and runs
its tests in a process of their own (``run``), on each store (``stores``). What is not expected to
pass stands in ``exclusions.toml``, with its reason; a test that fails without standing there, and
one that stands there and passes, fails the run.

Nobody's tests are copied into this repository. ``suites`` has what puts lpcm in the place of a
project's own implementation: plugins of pytest, which run in the projects' environment.
"""
