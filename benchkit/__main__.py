"""`python -m benchkit` is the command `benchkit`."""

from benchkit.cli import main

if __name__ == "__main__":
    main()
