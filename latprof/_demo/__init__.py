"""The whole road on this machine, on FashionMNIST."""
