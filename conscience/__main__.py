"""``python -m conscience`` is the command line."""

from conscience.cli.main import main

if __name__ == "__main__":
    main()
