"""Mix the channels of a recording down to one, and measure how much they have in common."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ser_ray.errors import InputError

Channel = int | Literal["mean"] | None
"""Channel to import: a number from 1, the "mean" of the non-constant channels, or None to choose automatically."""

LEGAL = "left, right, a number from 1, or mean"
ROWS = 2**16
"""Samples converted to float64 at a time, for the products of channels."""
CANCELS = 0.25
"""Channels cancel where the power of their sum is below this fraction of that of uncorrelated channels."""
UNCORRELATED = 0.25
"""Channels that correlate less than this contain different sounds rather than the same sound twice."""
FAINT = 1e-3
"""A channel with less than this fraction of the loudest channel's power (-30 dB) is not a separate speaker."""


def channel_named(text: str, where: str) -> Channel:
    """Parse the name of a channel: left, right, a number from 1, mean, or "" to choose automatically.

    Raises:
        InputError: if it is anything else; the message begins with `where`.
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
        raise InputError(f"{path} has {has}, but channel {channel} is requested; channel must be {LEGAL}")


def mono(block: NDArray[np.float32], channels: Sequence[int]) -> NDArray[np.float32]:
    """Average the given channels, counted from 0, of a block [samples, channels]: [samples]."""
    total = block[:, channels[0]].copy()
    for number in channels[1:]:  # channel by channel: numpy's mean along the short axis takes ten times as long
        total += block[:, number]
    return total / np.float32(len(channels)) if len(channels) > 1 else total


class ChannelPowers:
    """Covariances of at least two channels, counted from 0, accumulated over blocks."""

    def __init__(self, channels: Sequence[int]) -> None:
        self.channels = list(channels)
        self._samples = 0
        self._sums = np.zeros(len(self.channels))
        self._products = np.zeros((len(self.channels), len(self.channels)))

    def add(self, block: NDArray[np.float32]) -> None:
        """Add a block [samples, channels]."""
        for begin in range(0, len(block), ROWS):
            part = block[begin : begin + ROWS, self.channels].astype(np.float64)
            self._samples += len(part)
            self._sums += part.sum(axis=0)
            self._products += part.T @ part

    @property
    def loudest(self) -> int:
        """Number of the channel with the most power, counted from 0."""
        return self.channels[int(np.argmax(np.diag(self._covariance())))]

    @property
    def lost_db(self) -> float:
        """Power of the loudest channel over that of the channels' mean, in dB."""
        covariance = self._covariance()
        mean = covariance.mean()
        return 10 * float(np.log10(np.diag(covariance).max() / mean)) if mean > 0 else np.inf

    @property
    def cancel(self) -> bool:
        """Whether the channels are in opposite phase, so that their mean loses most of the signal."""
        covariance = self._covariance()
        return bool(covariance.sum() < CANCELS * np.trace(covariance))

    @property
    def correlation(self) -> float:
        """Pairwise correlation furthest from 0, among channels that are not faint; 1 where there is only one."""
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
        """Whether no two channels correlate noticeably: perhaps each has its own speaker."""
        return abs(self.correlation) < UNCORRELATED

    def _covariance(self) -> NDArray[np.float64]:
        samples = max(1, self._samples)
        means = self._sums / samples
        return self._products / samples - np.outer(means, means)
