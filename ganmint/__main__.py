"""Run the command line with `python -m ganmint`."""

from ganmint.cli import main

if __name__ == "__main__":
    main()
