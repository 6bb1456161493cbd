"""A node that is cut off the network, and comes back."""

from __future__ import annotations

import subprocess

from operators.cluster import Object
from operators.policies.world import is_ready
from tests.e2e.given import Given
from tests.e2e.release import PARTS, Release


class Node:
    """It; `name` as the API server has it."""

    def __init__(self, release: Release, given: Given) -> None:
        self.name = given.node
        self._release, self._given = release, given

    def pods(self, part: str) -> set[str]:
        """Of this part, here: also such as are about to end, or were cut off with it."""
        return {pod["metadata"]["name"] for pod in self._found(part)}

    def _wanted(self, part: str) -> set[str]:
        """The same, but for such as are about to end."""
        return {pod["metadata"]["name"] for pod in self._found(part) if not pod["metadata"].get("deletionTimestamp")}

    def left(self) -> bool:
        """Whether no pod is wanted here any more."""
        return all(pod["metadata"].get("deletionTimestamp") for part in PARTS for pod in self._found(part))

    def _found(self, part: str) -> list[Object]:
        found = self._release.cluster.find("v1", "Pod", self._release.namespace, PARTS[part])
        return [pod for pod in found if pod["spec"].get("nodeName") == self.name]

    def have(self, part: str, count: int) -> None:
        """See to it that so many of this part's pods run here."""
        while len(here := self._wanted(part)) != count:
            self._move(part, here, to_here=len(here) < count)

    def _move(self, part: str, here: set[str], *, to_here: bool) -> None:
        """One pod, by its death while the nodes where it is not wanted take none."""
        pods = {pod for pod, ready in self._release.pods(PARTS[part]).items() if ready}
        nodes = self._release.kubectl("get", "node", "-o=name").split()
        closed = [node for node in nodes if (node != f"node/{self.name}") == to_here]

        def moved() -> bool:
            ready = sum(self._release.pods(PARTS[part]).values()) == len(pods)
            return ready and self._wanted(part) != here and self._release.settled()

        try:
            self._release.kubectl("cordon", *closed)
            self._release.kill(min(pods - here if to_here else here))
            self._release.until(f"{part} has moved", moved)
        finally:
            self._release.kubectl("uncordon", *closed)

    def ready(self) -> bool:
        """Whether the API server hears of it."""
        node = self._release.cluster.get("v1", "Node", "", self.name)
        assert node is not None
        return is_ready(node)

    def down(self) -> None:
        """Nothing reaches it any more, and nothing comes from it."""
        subprocess.run(self._given.node_down, shell=True, check=True, timeout=60)

    def up(self) -> None:
        """Everything does."""
        subprocess.run(self._given.node_up, shell=True, check=True, timeout=60)
