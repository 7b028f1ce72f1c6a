"""What the model libraries print while they load, kept out of the logs of a flow run.

Knows those libraries' switches and nothing else.
"""

from __future__ import annotations

import warnings

import diffusers.utils.logging
import transformers.utils.logging


def quiet_libraries() -> None:
    """Let the libraries speak of errors only, without progress bars."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
