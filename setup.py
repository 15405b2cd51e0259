"""Packages of the wheel; everything else about the project is in pyproject.toml."""

from setuptools import find_packages, setup

# `analyses` is too common a name to own at the top level of an environment, so the wheel renames
# the folder. pyproject.toml can either find packages or rename one, not both.
setup(
    packages=[*find_packages(include=["interp_culture*"]), "interp_culture_analyses"],
    package_dir={"interp_culture_analyses": "analyses"},
)
