"""The folder of the data files that are shipped with the package."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
