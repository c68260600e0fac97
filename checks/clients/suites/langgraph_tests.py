"""LangGraph's conformance tests, each a test of its own: they are functions that take a saver."""

import importlib
import inspect
import pkgutil

import pytest
from langgraph.checkpoint.conformance import spec
from langgraph.checkpoint.conformance.capabilities import DetectedCapabilities

CASES = [
    pytest.param(function, id=f"{module.name}-{name}")
    for module in pkgutil.iter_modules(spec.__path__)
    for name, function in vars(importlib.import_module(f"{spec.__name__}.{module.name}")).items()
    if name.startswith("test_") and inspect.iscoroutinefunction(function)
]


@pytest.mark.parametrize("case", CASES)
async def test_conformance(case, saver):
    capability = case.__module__.rpartition(".test_")[2]
    if capability not in {
        each.value for each in DetectedCapabilities.from_instance(saver).detected
    }:
        pytest.skip(f"{capability} is an extension that this saver does not offer")
    await case(saver)
