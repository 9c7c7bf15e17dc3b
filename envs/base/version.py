"""The version of the distribution, written here alone: pyproject.toml, the public face and stored runs read it."""

__version__ = "0.2.0"
