"""Numbers of a plan that unpack with ``**``, in the words of an engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Keywords(Mapping[str, Any]):
    """What ``**arguments`` gives: the keyword arguments of the call that an engine is used by."""

    batch_size: int
    """Items that one task should hold."""

    @abstractmethod
    def keywords(self) -> Mapping[str, Any]:
        """Those keyword arguments."""

    def batches(self, data: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Cut a sequence into the batches that a task should hold."""
        for start in range(0, len(data), self.batch_size):
            yield data[start : start + self.batch_size]

    def __getitem__(self, key: str) -> Any:
        return self.keywords()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keywords())

    def __len__(self) -> int:
        return len(self.keywords())
