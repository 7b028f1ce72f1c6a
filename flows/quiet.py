"""Keeps what the model libraries print while they load out of the logs of a flow run."""

from __future__ import annotations

import warnings


def quiet_libraries() -> None:
    """Let the libraries log errors only, without progress bars."""
    # Imported here, for it takes seconds, and most commands need no model.
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
