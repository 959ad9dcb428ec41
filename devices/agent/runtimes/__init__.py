"""The runtimes a device runs models through. They run inside the agent, on the device host."""

import os

# ONNX Runtime writes an identifier of the device and a queue of telemetry into the user's cache
# folder as soon as it is imported, unless this says otherwise. Nothing of ours stays on a host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
