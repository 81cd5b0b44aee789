"""`python -m ser_ray` is `ser-ray`."""

import sys

from ser_ray.cli import main

if __name__ == "__main__":
    sys.exit(main())
