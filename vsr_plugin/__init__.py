"""BasicVSR, IconVSR, BasicVSR++ and RealBasicVSR as a plugin of MMagic.

Importing this package is cheap: it only prepares the ground on which MMagic can be imported
(`vsr_plugin.mmagic_host`). PyTorch, mmengine and MMagic are imported by the parts that need them.
"""

from vsr_plugin import mmagic_host as _host

__version__ = "0.1.0"

_host.install()
