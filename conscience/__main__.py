"""``python -m conscience`` is the command line."""

from conscience.cli import main

if __name__ == "__main__":
    main()
