"""What of whipstitch is compiled. All else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

# Optional: where there is no C compiler the same is done in Python, at several times the cost.
setup(
    ext_modules=cythonize(
        [Extension("pipeline.dialects.segment_plain", ["pipeline/dialects/segment_plain.pyx"], optional=True)],
        build_dir="build",
    )
)
