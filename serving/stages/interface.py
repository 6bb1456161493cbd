"""The stages as the Director sees them.

`deployments/handles.py` makes them of Ray Serve handles, tests of plain objects.

A `Ref` stands for an array that lies with a replica: the Director hands it from one stage to the next and never reads
it. Calls that return one return at once; what goes wrong inside shows where the reference is used.

Every call raises `LongtakeError` kinds for what the user can mend, `StageLost` when the replica that did it died,
`StageAway` when none did it, anything else for a fault of ours. Where no replica is up a call may also wait for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType, Protocol

from serving.stage_names import StageName
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    ImageResult,
    IngestCall,
    IngestResult,
    InputsCall,
    InputsResult,
    PromptCall,
    PromptResult,
    RenderCall,
    RenderResult,
    SliceCall,
    SliceResult,
    TakeCall,
    TextCall,
)

Ref = NewType("Ref", object)
"""An array that stays where it is."""


class Stages(Protocol):
    """Every stage that a job goes through."""

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        """Understand the prompt."""

    def embed_text(self, call: TextCall) -> Ref:
        """The caption's embedding."""

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """Encode the job's pictures."""

    async def ingest(self, call: IngestCall) -> IngestResult:
        """Make a foreign video a root segment."""

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        """All that a segment is conditioned on."""

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        """Some denoising steps."""

    def take_latents(self, call: TakeCall) -> Ref:
        """A finished segment's latents."""

    async def cancel(self, call: CancelCall) -> None:
        """Stop a job's slices before their next step."""

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        """Decode and encode a segment."""

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        """Decode a frame into a PNG."""

    async def replicas(self) -> Mapping[StageName, int]:
        """How many replicas of each stage are up, as far as that is known."""
