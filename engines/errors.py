"""What can be wrong with an engine, in one tree.

    EngineError(ValueError)
     ├─ EngineNotBuilt     no layer holds it: names the command that builds it
     ├─ EngineCorrupt      bytes that do not match their digest, or a manifest that cannot be read
     ├─ EngineUntrusted    nobody who is trusted here signed it, or a file of keys is open to others
     ├─ EngineUnverified   it was never verified, or not with the runtime that is installed
     ├─ EngineDeviceAbsent it was compiled for a GPU that is not here, or is larger than its free memory
     ├─ EngineAway         the server that is to run it is not reached, or does not have it
     ├─ EngineSilent       the server answers, and a call to the engine does not come back
     ├─ EngineUnfit        a graph that may not be published: lint or parity refused it
     └─ CheckpointUnfit    a checkpoint that is not whole, or that no family reads

`serving` and the CLI show the message as it is: it says what to do.
"""

from __future__ import annotations


class EngineError(ValueError):
    """The root of the tree."""


class EngineNotBuilt(EngineError):
    """No layer of the store holds the engine."""


class EngineCorrupt(EngineError):
    """Bytes that do not match their digest."""


class EngineUntrusted(EngineError):
    """No signature of anybody who is trusted here; or a file of keys that others could have read or changed."""


class EngineUnverified(EngineError):
    """The engine was never compared with its model on such a device, or with other versions of its runtime."""


class EngineDeviceAbsent(EngineError):
    """This machine has no GPU that the engine runs on, or none with room for it."""


class EngineAway(EngineError):
    """The server that is to run the engine is not reached, or does not have it: no call was at fault, and the same call
    may be made again when it is there."""


class EngineSilent(EngineError):
    """A call has not come back in its time, and the server that runs it answers others: perhaps by what it was given,
    perhaps not."""


class EngineUnfit(EngineError):
    """The graph or its results are not what may be published."""


class CheckpointUnfit(EngineError):
    """A checkpoint that is not whole, or not of a kind that is read here."""
