"""What a session config says of the run's door to other terminals."""

from __future__ import annotations

from pydantic import Field

from nbbacktest.core.model import Model


class RemoteConfig(Model):
    """Whether other terminals and programs of the same user can reach the run."""

    enabled: bool = Field(True, description="whether the run can be found and commanded by them")
