"""dogpile's suites for backends, serializers and mutexes, held over a map."""

from dogpile.cache.proxy import ProxyBackend
from dogpile.testing import fixtures


class BackendTest(fixtures._GenericBackendTestSuite):
    backend = "lpcm"
    config_args = {"arguments": {"lock_timeout": 30}}


class LockWithinTheProcessTest(BackendTest):
    config_args = {"arguments": {"lock_timeout": None}}


class ProxyTest(BackendTest):
    config_args = {"arguments": {"lock_timeout": 30}, "wrap": [ProxyBackend]}


class SerializerTest(fixtures._GenericSerializerTestSuite, BackendTest):
    pass


class MutexTest(fixtures._GenericMutexTestSuite):
    backend = "lpcm"
