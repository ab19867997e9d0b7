"""``python -m fusionscope``: the command."""

from backend.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
