"""Which versions of another package an integration was written for, checked when it is imported."""

from __future__ import annotations

import importlib.metadata

from packaging.specifiers import SpecifierSet

from envs.base.errors import UserError
from envs.base.extras import how_to_install

TRL = ">=1.16,<1.17"
VERL = ">=0.9.1,<0.10"
OPENENV = ">=0.10,<0.11"
INSPECT = ">=0.3.285,<0.4"
VERIFIERS = ">=0.4,<0.5"
SKYRL_GYM = ">=0.4,<0.5"


def require(package: str, versions: str, extra: str, module: str | None = None) -> str:
    """Return the installed version of a package.

    Args:
        package: name of the distribution.
        versions: the versions that will do, as in ``>=1.16,<1.17``.
        extra: which extra of agentbench installs it.
        module: what needs it; None: the module of ``agentbench.integrations`` that is called as the extra is.

    Raises:
        UserError: it is not installed, or in another version.
    """
    wanted, module = how_to_install(extra), module or f"agentbench.integrations.{extra}"
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"{module} needs {package} {versions}: {wanted}") from None
    if not SpecifierSet(versions).contains(found, prereleases=True):
        raise UserError(f"{module} was written for {package} {versions}, and {found} is installed: {wanted}")
    return found
