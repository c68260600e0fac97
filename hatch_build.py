"""The long description and the project's links, with the address that the builder has for them.

A checkout does not know where it is hosted; the release workflow does, and says so in
``LPCM_REPOSITORY`` (``https://host/owner/name``). Then the package's metadata link there, and
README's links, which lead to files beside it, are made whole. Without it they stay as they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


class Links(MetadataHookInterface):
    """Fill in ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both, for the tag of the version that is built."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        base = os.environ.get("LPCM_REPOSITORY", "").rstrip("/")
        metadata["urls"] = {}
        if base:
            tag = f"v{metadata['version']}"
            text = LINK.sub(lambda link: whole(base, tag, *link.groups()), text)
            metadata["urls"] = {
                "Repository": base,
                "Documentation": f"{base}/blob/{tag}/docs/index.md",
                "Changelog": f"{base}/blob/{tag}/CHANGELOG.md",
                "Issues": f"{base}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def whole(base: str, tag: str, image: str, text: str, path: str) -> str:
    """Return a link of README's with its whole address; an image's leads to the bytes."""
    return f"{image}[{text}]({base}/{'raw' if image else 'blob'}/{tag}/{path})"
