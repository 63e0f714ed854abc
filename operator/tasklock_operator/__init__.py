"""The operator of tasklock: frees the locks that nobody holds any more, and shows what is held."""
