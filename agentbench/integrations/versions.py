"""Which versions of another package an integration was written for, checked when it is imported."""

from __future__ import annotations

import importlib.metadata

from packaging.specifiers import SpecifierSet

from envs.base.errors import UserError
from envs.base.extras import how_to_install

TRL = ">=1.16,<1.17"
VERL = ">=0.9.1,<0.10"
OPENENV = ">=0.10,<0.11"


def require(package: str, versions: str, extra: str) -> str:
    """Return the installed version of a package.

    Args:
        package: name of the distribution.
        versions: the versions that will do, as in ``>=1.16,<1.17``.
        extra: which extra of agentbench installs it.

    Raises:
        UserError: it is not installed, or in another version.
    """
    wanted = how_to_install(extra)
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"agentbench.integrations.{extra} needs {package} {versions}: {wanted}") from None
    if not SpecifierSet(versions).contains(found, prereleases=True):
        raise UserError(
            f"agentbench.integrations.{extra} was written for {package} {versions}, and {found} is installed: {wanted}"
        )
    return found
