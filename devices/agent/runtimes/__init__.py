"""The runtimes a device runs models through. They run inside the agent, on the device host."""
