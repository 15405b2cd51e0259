"""Where the files that come with the package are."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
