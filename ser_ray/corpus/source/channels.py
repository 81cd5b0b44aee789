"""How the channels of a recording become one, and what they have in common."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ser_ray.errors import InputError

Channel = int | Literal["mean"] | None
"""What becomes mono: a channel's number from 1, the mean of those that are not constant, or None for what fits."""

LEGAL = "left, right, a number from 1, or mean"
ROWS = 2**16
"""How many samples are brought to float64 at a time, to be multiplied."""
CANCELS = 0.25
"""Channels cancel where the power of their sum is below this part of what it would be if they had nothing in common."""
UNCORRELATED = 0.25
"""Channels that correlate less than this hold different sounds, and no different views of one."""
FAINT = 1e-3
"""A channel of less power than this part of the loudest is no speaker of its own (30 dB)."""


def channel_named(text: str, where: str) -> Channel:
    """Return the channel that a text names: left, right, a number from 1, mean, or "" for what suits the file.

    Raises:
        InputError: if it is something else; its message begins with `where`.
    """
    value = text.strip().lower()
    if value in ("", "mean"):
        return "mean" if value else None
    number = {"left": 1, "right": 2}.get(value) or (int(value) if re.fullmatch("[0-9]{1,4}", value) else 0)
    if number < 1:
        raise InputError(f"{where}: channel is {text!r}, but must be {LEGAL}")
    return number


def check_channel(channel: Channel, channels: int, path: object) -> None:
    """Refuse a channel that a file does not have."""
    if isinstance(channel, int) and channel > channels:
        has = "1 channel" if channels == 1 else f"{channels} channels"
        raise InputError(f"{path} has {has}, but channel {channel} is asked for; channel must be {LEGAL}")


def mono(block: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """Return the mean of some channels, counted from 0, of a block [samples, channels]: [samples]."""
    total = block[:, channels[0]].copy()
    for number in channels[1:]:  # channel by channel: along the short axis numpy takes ten times as long
        total += block[:, number]
    return total / np.float32(len(channels)) if len(channels) > 1 else total


class ChannelPowers:
    """Powers of channels, and what they have in common, gathered over blocks; at least two channels, counted from 0."""

    def __init__(self, channels: Sequence[int]) -> None:
        self.channels = list(channels)
        self._samples = 0
        self._sums = np.zeros(len(self.channels))
        self._products = np.zeros((len(self.channels), len(self.channels)))

    def add(self, block: NDArray[np.float32]) -> None:
        """Take a block [samples, channels] in."""
        for begin in range(0, len(block), ROWS):
            part = block[begin : begin + ROWS, self.channels].astype(np.float64)
            self._samples += len(part)
            self._sums += part.sum(axis=0)
            self._products += part.T @ part

    @property
    def loudest(self) -> int:
        """The number of the channel with the most power, counted from 0."""
        return self.channels[int(np.argmax(np.diag(self._covariance())))]

    @property
    def lost_db(self) -> float:
        """Return how far the power of the channels' mean is below that of the loudest."""
        covariance = self._covariance()
        mean = covariance.mean()
        return 10 * float(np.log10(np.diag(covariance).max() / mean)) if mean > 0 else np.inf

    @property
    def cancel(self) -> bool:
        """Return whether the channels are each other's opposite, so that their mean keeps little of them."""
        covariance = self._covariance()
        return bool(covariance.sum() < CANCELS * np.trace(covariance))

    @property
    def correlation(self) -> float:
        """The correlation that is the furthest from 0, among channels that are not faint; 1 where there is but one."""
        covariance = self._covariance()
        powers = np.diag(covariance)
        heard = powers > FAINT * powers.max()
        if heard.sum() < 2:
            return 1.0
        deviations = np.sqrt(powers[heard])
        correlations = covariance[np.ix_(heard, heard)] / np.outer(deviations, deviations)
        pairs = correlations[np.triu_indices(len(deviations), 1)]
        return float(pairs[np.argmax(np.abs(pairs))])

    @property
    def hardly_correlate(self) -> bool:
        """Return whether no two channels have much in common: a speaker on each, perhaps."""
        return abs(self.correlation) < UNCORRELATED

    def _covariance(self) -> NDArray[np.float64]:
        samples = max(1, self._samples)
        means = self._sums / samples
        return self._products / samples - np.outer(means, means)
