"""`python -m ser_ray.sweep` is `ser-ray sweep`; it imports nothing before signals are handled."""

from collections.abc import Sequence

from ser_ray.process import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep command, and return its exit code."""
    from ser_ray.sweep.command import main

    return main(argv)


if __name__ == "__main__":
    run(main)
