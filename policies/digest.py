"""The digest of a policy: a short hash of everything that decides its answers."""

from __future__ import annotations

import hashlib
import json


def digest_of(name: str, version: int, **parameters: object) -> str:
    """Return 12 hexadecimal digits that change with the name, the version or any parameter.

    Args:
        name: the policy's name.
        version: a number that is raised whenever the code begins to answer differently.
        parameters: values that JSON can write.
    """
    text = json.dumps([name, version, parameters], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
