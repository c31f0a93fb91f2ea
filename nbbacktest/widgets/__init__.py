"""The control panel of a notebook: controls, live charts, and their threads. Needs the extra ``lab``."""

from nbbacktest.core.errors import MissingExtraError

try:
    import anywidget
    import ipywidgets
except ImportError as error:
    raise MissingExtraError(error.name or "ipywidgets", "lab", "the control panel") from error

__all__ = ["anywidget", "ipywidgets"]
