"""Decides whether a history of compare-and-swap operations is linearizable, and says in words why not.

Linearizable: every operation seems to happen at one moment between its invocation and its answer (Herlihy and Wing,
"Linearizability: A Correctness Condition for Concurrent Objects", TOPLAS 1990). Every key is judged alone, for
linearizability is local (same paper, theorem 1; Horn and Kroening call it P-compositionality in "Faster
Linearizability Checking via P-Compositionality", FORTE 2015).

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC 1993): take an operation that no
other one precedes, apply it to a model of the object, go on, and step back from dead ends. Lowe's addition ("Testing
for Linearizability", CCPE 2017) makes it fast: a pair of (operations already ordered, state) is entered once only.
Two things more keep it small here:

* A read, or a refused write, that fits the present state is taken at once and never reconsidered: it changes nothing
  in any state, so any order that has it later stays valid with it moved here.
* An unknown write is tried only where it would change the state; the search ends when all answered ones are ordered.

The model: an object is absent or holds one content. Contents are unique, so a content stands for the write that made
it, and a version for the content that it was answered with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.history.recorder import Operation

State = bytes | None
"""The object's content; None where there is none."""

Versions = dict[str, bytes]
"""The content that each version stands for."""


class Impossible:
    """What `effect` answers where an operation could not have got its answer."""


IMPOSSIBLE: Final = Impossible()


@dataclass(frozen=True)
class Ordering:
    """How far the search came."""

    complete: bool
    order: tuple[Operation, ...]
    """The longest order that was found."""

    state: State
    """What the object holds after it."""

    left: tuple[Operation, ...]
    """Answered operations that nothing unordered precedes: where it is not complete, none of them leads on."""


def by_key(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Each key's operations by invocation. Raises `ValueError` when two writes wrote the same."""
    keys: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(history, key=lambda o: o.invoked):
        keys[operation.key].append(operation)
    for key, operations in keys.items():
        written = [o.data for o in operations if o.name in ("put_if_absent", "swap")]
        if len(written) != len(set(written)):
            raise ValueError(f"two writes of {key} have the same content: nothing can be told from such a history")
    return dict(sorted(keys.items()))


def versions_of(operations: Iterable[Operation]) -> Versions:
    """What each version was first answered with."""
    versions: Versions = {}
    for operation in operations:
        if operation.version is not None and operation.data is not None:
            versions.setdefault(operation.version, operation.data)
    return versions


def effect(operation: Operation, state: State, versions: Versions) -> State | Impossible:
    """The state after the operation takes effect on `state` with the answer that it gave."""
    done = operation.outcome != "failed"
    if operation.version is not None and versions[operation.version] != operation.data:
        return IMPOSSIBLE  # one version for two contents
    match operation.name:
        case "get":
            return state if state == (operation.data if done else None) else IMPOSSIBLE
        case "put_if_absent":
            if (state is None) != done:
                return IMPOSSIBLE
            return operation.data if done else state
        case "swap":
            # A version that nobody was ever told stands for no content: such a swap can only be refused.
            expected = versions.get(operation.expected or "", IMPOSSIBLE)
            if done:
                return operation.data if state == expected else IMPOSSIBLE
            fits = state is None if operation.error == "NotFound" else state != expected
            return state if fits else IMPOSSIBLE
        case "delete":
            return None


class _Link(NamedTuple):
    """An order as a chain, newest first, so that branches share what they have in common."""

    operation: Operation
    before: _Link | None


class _Node(NamedTuple):
    done: int
    """Which operations are ordered: a bit for each answered one, and above them one for each unknown one."""

    state: State
    order: _Link | None


class _Search:
    """One key's operations, arranged for the search."""

    def __init__(self, operations: Sequence[Operation], versions: Versions) -> None:
        self._versions = versions
        self._answered = [o for o in operations if o.responded is not None]
        self._unknown = [o for o in operations if o.responded is None and o.name != "get"]
        self._all = (1 << len(self._answered)) - 1

    def run(self) -> Ordering:
        stack, entered, best, reach = [_Node(0, None, None)], set[tuple[int, State]](), _Node(0, None, None), -1
        while stack:
            node = self._take_reads(stack.pop())
            if (node.done, node.state) in entered:
                continue
            entered.add((node.done, node.state))
            ordered = (node.done & self._all).bit_count()
            if ordered > reach:
                best, reach = node, ordered
            if ordered == len(self._answered):
                break
            stack.extend(self._writes(node))
        order = []
        link = best.order
        while link:
            order.append(link.operation)
            link = link.before
        left = tuple(self._answered[index] for index in self._next(best.done))
        return Ordering(not left, tuple(reversed(order)), best.state, left)

    def _next(self, done: int) -> list[int]:
        """The answered operations that no other unordered one precedes. Equal stamps precede nothing.

        `limit` never falls below the stamp where the walk is, so what was found stays found.
        """
        first = (~done & (done + 1)).bit_length() - 1  # the lowest bit that is not set
        found, limit = [], None
        for index in range(first, len(self._answered)):
            operation = self._answered[index]
            if limit is not None and operation.invoked > limit:
                break
            if not done >> index & 1:
                found.append(index)
                limit = operation.responded if limit is None else min(limit, operation.responded or 0)
        return found

    def _take_reads(self, node: _Node) -> _Node:
        """Order every read and refusal that fits the state now."""
        taken = True
        while taken:
            taken = False
            for index in self._next(node.done):
                operation = self._answered[index]
                reads = operation.name == "get" or operation.outcome == "failed"
                if reads and effect(operation, node.state, self._versions) is not IMPOSSIBLE:
                    node = _Node(node.done | 1 << index, node.state, _Link(operation, node.order))
                    taken = True
        return node

    def _writes(self, node: _Node) -> Iterator[_Node]:
        """The nodes after each write that can come next, the likeliest last."""
        following = self._next(node.done)
        limit = min(self._answered[index].responded or 0 for index in following)
        writes = [
            (len(self._answered) + number, operation)
            for number, operation in enumerate(self._unknown)
            if operation.invoked <= limit
        ]
        writes += [(index, self._answered[index]) for index in following]
        for index, operation in writes:
            if node.done >> index & 1 or operation.name == "get" or operation.outcome == "failed":
                continue
            after = effect(operation, node.state, self._versions)
            if isinstance(after, Impossible) or (operation.responded is None and after == node.state):
                continue
            yield _Node(node.done | 1 << index, after, _Link(operation, node.order))


def order(operations: Sequence[Operation], versions: Versions | None = None) -> Ordering:
    """Search for an order of one key's operations (by invocation, as `by_key` gives them) that explains all answers."""
    return _Search(operations, versions_of(operations) if versions is None else versions).run()
