"""Names of files and folders that count as not there, in folders and in archives alike."""

from __future__ import annotations

import re

_JUNK = re.compile(
    r"__pycache__|node_modules|Thumbs\.db|desktop\.ini|.*~|~\$.*|#.*#|.*\.(?:sw[a-p]|bak|tmp|part|crdownload)"
)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or is what tools leave behind."""
    return name.startswith(".") or _JUNK.fullmatch(name) is not None
