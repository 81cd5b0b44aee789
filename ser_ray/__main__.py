"""`python -m ser_ray` is `ser-ray`."""

from ser_ray.cli import start

if __name__ == "__main__":
    start()
