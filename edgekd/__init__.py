"""edgekd: which student network fits this device and this deadline, and does it really?"""

__version__ = "0.1.0"
