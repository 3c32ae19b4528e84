"""The longest row of tokens that a text shares with another one, in linear time."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TokenRows"]


class TokenRows:
    """Know every row of a text's tokens: its suffix automaton (Blumer et al. 1985).

    To look for each row in the text itself would take minutes where two long texts are one sentence each.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._shorter = [-1]
        """For each state that of the longest row that ends like it and stands in more places."""
        self._length = [0]
        last = 0
        for token in tokens:
            last = self._add(last, token)

    def longest(self, tokens: Sequence[str]) -> tuple[int, int]:
        """Return where the first of the longest rows that the text has, too, begins, and its length."""
        state = length = begin = longest = 0
        for place, token in enumerate(tokens, 1):
            while state and token not in self._next[state]:
                state = self._shorter[state]
                length = self._length[state]
            if token in self._next[state]:
                state, length = self._next[state][token], length + 1
            if length > longest:
                begin, longest = place - length, length
        return begin, longest

    def _add(self, last: int, token: str) -> int:
        """Add a token at the end; return the state of the whole text."""
        new = self._state({}, 0, self._length[last] + 1)
        state = last
        while state >= 0 and token not in self._next[state]:
            self._next[state][token] = new
            state = self._shorter[state]
        if state >= 0:
            self._shorter[new] = self._exactly(state, token)
        return new

    def _exactly(self, state: int, token: str) -> int:
        """Return the state of a state's row and a token, and of no longer row."""
        found = self._next[state][token]
        if self._length[found] == self._length[state] + 1:
            return found
        part = self._state(dict(self._next[found]), self._shorter[found], self._length[state] + 1)
        self._shorter[found] = part
        while state >= 0 and self._next[state].get(token) == found:
            self._next[state][token] = part
            state = self._shorter[state]
        return part

    def _state(self, following: dict[str, int], shorter: int, length: int) -> int:
        self._next.append(following)
        self._shorter.append(shorter)
        self._length.append(length)
        return len(self._length) - 1
