"""Inputs that nobody sane would write, by the thousand: ``python -m tests.fuzz --help``.

``chance`` draws them, ``targets`` says what is done with them and what may come of it,
``rounds`` does it within limits of time and memory, and reports.
"""
