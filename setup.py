"""Installs ``vsr_plugin`` into an environment of the user's own without touching what is there.

PyTorch, mmengine, mmcv and MMagic are not requirements on purpose: pip could only satisfy them by changing
versions (MMagic alone drags in diffusers, transformers and mediapipe), and mmcv and mmcv-lite, or a CPU and a CUDA
build, cannot be told apart in a requirement. ``vsr-plugin env`` says what is missing or does not fit.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
#: What OpenMMLab's packages carry in their folder ``.mim``, where mmengine and mim look for it.
SHIPPED = ("configs", "tools", "model-index.yml")


class BuildWithConfigs(build_py):
    """Puts ``.mim`` into the package: copies in a wheel, links for an editable installation."""

    def run(self) -> None:
        super().run()
        folder = (HERE if self.editable_mode else Path(self.build_lib)) / "vsr_plugin" / ".mim"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in SHIPPED:
            source, target = HERE / name, folder / name
            if self.editable_mode:
                target.symlink_to(Path("..", "..", name))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


setup(
    name="vsr_plugin",
    version=re.search(r'__version__ = "(.+?)"', (HERE / "vsr_plugin" / "__init__.py").read_text())[1],
    description="BasicVSR, IconVSR, BasicVSR++ and RealBasicVSR video super-resolution as a plugin of MMagic",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["vsr_plugin", "vsr_plugin.*"]),
    package_data={
        "vsr_plugin.acceleration.cuda.kernels": ["*.cu"],
        "vsr_plugin.app": ["*.css", "*.js"],
        "vsr_plugin.weights": ["*.safetensors"],
    },
    python_requires=">=3.10",
    install_requires=["av>=17", "filelock", "safetensors", "tqdm"],
    extras_require={
        # Compiles the kernels that restoring on a CPU is more than twice as fast with; GPUs do not need it.
        "cpu": ["llvmlite>=0.45"],
        # Hands shots and trainings to several machines.
        "cluster": ["ray>=2.50"],
        # The page in the browser is Gradio's, which needs a Pillow of before 13.
        "app": ["gradio>=6.31,<7", "pillow<13"],
    },
    entry_points={"console_scripts": ["vsr-plugin = vsr_plugin.__main__:main"]},
    cmdclass={"build_py": BuildWithConfigs},
)
