"""Passwords in URLs: the one place that decides which parts of a URL may be shown.

``redact`` gives the text for messages. ``Url`` and ``Secret`` hold URLs and passwords, so that no
repr, traceback, debug page or pickle shows them. Knows no adapter: it hides the same parts in any
text that may be a URL, malformed ones included.

Invariant: of text with an ``@``, in whatever percent-encoding, nothing between the scheme and
the last ``@`` is shown. So a password is hidden with everything that may be a part of it. The
price is that the user's name, and any text between two URLs in one text, are hidden as well.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from lpcm.errors import PickleRefused

__all__ = ["Secret", "Url", "conceal", "redact", "redact_words"]

HIDDEN = "***"

# Texts, which ``re`` compiles, and keeps, when the first message is made: that takes as long as
# a tenth of ``import lpcm``.
_AT = "[@\uff20\ufe6b]|%(?:25)*40"
"""An @: as itself, in a compatibility form of Unicode, or percent-encoded."""
_SCHEME = (
    r"(?:sqlite|memory|dynamodb|memcached|memcached\+tls|memcached\+unix|django|https?|rediss?"
    r"|postgres|postgresql|mysql|mongodb)://"
)
"""Schemes by name: any other text before ``://`` may be the beginning of a password."""
_OPTION = (
    r"(?is)((?:^|[?&;]|%(?:25)*(?:3[fF]|26|3[bB]))"
    r"[^=&?;%]*(?:api|auth|token|key|secret|pass|signature|credential)[^=&?;%]*(?:=|%(?:25)*3[dD]))"
    r".*"
)
"""An option whose name says that it holds a secret, and all text behind it."""
_PORT = r"(?s)(\[[^\[\]/?#]*\])|(?<!:)(?::|%(?:25)*3[aA])(?!/|%(?:25)*2[fF]|\d*(?:[/?#&,%\]]|$)).*"
"""A bracketed address, which stays; else text in the place of a port that is none, and the rest."""
_WORD = r"[^\s'\"()]+"
_SIGNS = r"(?i)(://|%3a%2f%2f)|(:|%3a)|(@|%40)"
"""A word may be a URL where it has the first of these signs, or the second before the third."""


def redact(url: str) -> str:
    """Return the parts of a URL that may be shown.

    >>> redact("memcached://user:secret@host:11211?timeout=1")
    'memcached://***@host:11211?timeout=1'
    >>> redact("memory://?cache=memcached%3A%2F%2Fuser%3Asecret%40host")
    'memory://***@host'
    >>> redact("memcached://user:secret"), redact("memcached://[::1]:11211,host:11212")
    ('memcached://user:***', 'memcached://[::1]:11211,host:11212')
    >>> redact("https://host?ttl=60&password=secret")
    'https://host?ttl=60&password=***'
    """
    text = str.__str__(url)
    ats = list(re.finditer(_AT, text))
    if ats:
        scheme = re.match(_SCHEME, text[: ats[-1].start()])
        option = re.search(_OPTION, text)
        hidden = f"{scheme[0] if scheme else ''}{HIDDEN}"
        if option is not None and option.end(1) <= ats[-1].start():
            return hidden  # the @ may be a part of the secret
        text = f"{hidden}@{text[ats[-1].end() :]}"
    text = re.sub(_OPTION, rf"\1{HIDDEN}", text)
    if "arn:" not in text:  # the parts of a table's ARN are no ports
        text = re.sub(_PORT, _shown, text)
    return text


def _shown(found: re.Match[str]) -> str:
    return found[1] or f":{HIDDEN}"


def redact_words(text: str) -> str:
    """Return the parts that may be shown of another program's text, which may quote URLs.

    >>> redact_words("Invalid endpoint: http://user:secret@host, says bob@example.com")
    'Invalid endpoint: http://***@host, says bob@example.com'
    """
    return re.sub(
        _WORD, lambda found: redact(found[0]) if _may_be_url(found[0]) else found[0], text
    )


def _may_be_url(word: str) -> bool:
    """Tell whether a word may be a URL; an e-mail address is none. One pass: text may be long."""
    colon = False
    for found in re.finditer(_SIGNS, word):
        if found[1] or (found[3] and colon):
            return True
        colon = colon or bool(found[2])
    return False


class Url(str):
    """A URL, or a part of a URL, whose repr shows no password and whose pickle has none.

    >>> Url("memcached://user:secret@host")
    'memcached://***@host'
    >>> Url("memory://") == "memory://"
    True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact(self))

    def __copy__(self) -> Url:
        return self

    def __deepcopy__(self, _: object) -> Url:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if redact(self) != self:
            raise PickleRefused(
                f"{self!r} has a password, which no pickle may hold: give the URL to "
                "lpcm.configure in each process"
            )
        return str, (str.__str__(self),)

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return self.__reduce__()


def conceal(text: str) -> str:
    """Return text as a ``Url`` where ``Url`` hides a part of it, else unchanged.

    For text that is passed to other libraries: some of them take no subclass of str.
    """
    return Url(text) if redact(text) != text else text


class Secret(str):
    """A password: text that no repr and no pickle shows.

    >>> Secret("secret")
    '***'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise PickleRefused("a password goes into no pickle")
