"""`python -m anyfc` is the command line."""

from anyfc.cli.main import main

if __name__ == "__main__":
    main()
