"""Models as files: which are known, where they lie, how they come here. Nothing in this package runs one."""

from rag.models.catalogue import DEFAULTS, TEST_MODELS
from rag.models.pull import ModelStatus, list_models, pull
from rag.models.resolve import ModelFolder, resolve

__all__ = ["DEFAULTS", "TEST_MODELS", "ModelFolder", "ModelStatus", "list_models", "pull", "resolve"]
