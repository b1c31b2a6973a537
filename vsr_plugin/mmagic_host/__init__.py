"""Makes the unmodified MMagic 1.2.0 run where parts of what it imports are absent.

MMagic imports its whole model zoo at once, so an absent diffusion stack, torchvision or compiled
mmcv stops even BasicVSR. Here MMagic's own modules, and nobody else, get an ``import`` that hands
out a stand-in for such a package (`finder`, `stand_in`), a working deformable convolution where
``mmcv.ops`` is not compiled (`mmcv_ops`), and the one name that it misses in numpy 2. mmengine's
checkpoints become loadable again on PyTorch 2.6 and later (`resume`).

What holds everywhere: a package that can be imported is used; a stand-in that is *used* raises
``ImportError`` naming the package; ``sys.modules``, numpy and the ``import`` of other code are
never touched.
"""

from vsr_plugin.mmagic_host.finder import import_quietly, install
from vsr_plugin.mmagic_host.packages import Absence, absent_packages
from vsr_plugin.mmagic_host.resume import allow_resume

__all__ = ["Absence", "absent_packages", "allow_resume", "import_quietly", "install"]
