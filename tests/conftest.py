"""Settings of all tests."""

import os
from pathlib import Path

from hypothesis import settings

# A busy machine may take any time for an example.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

# A model that was fetched on this machine must not replace the small one that tests know. It is a variable
# because tests start servers in processes of their own.
os.environ["PARARNN_MODEL_DIR"] = str(Path(__file__).with_name("no-models"))
