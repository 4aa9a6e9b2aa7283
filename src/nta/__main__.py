"""``python -m nta``: the command line."""

from nta.cli import main

if __name__ == "__main__":
    main()
