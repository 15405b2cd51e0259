"""Files that outlive a run: written whole, checked when they are read, shared between processes."""
