"""Keeps what the model libraries print while they load out of the logs of a flow run."""

from __future__ import annotations

import warnings

import diffusers.utils.logging
import transformers.utils.logging


def quiet_libraries() -> None:
    """Let the libraries log errors only, without progress bars."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
