"""`python -m interp_culture`, the same as the command `interp-culture`."""

from interp_culture.cli import main

if __name__ == "__main__":
    main()
