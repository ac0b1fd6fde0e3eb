"""What of whipstitch is compiled. All else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import setup

compiled = [
    "broker/record_codec.pyx",
    "pipeline/dialects/segment_plain.pyx",
    "pipeline/id_search.pyx",
    "pipeline/id_table.pyx",
    "pipeline/plain_batch.pyx",
    "pipeline/plain_owners.pyx",
    "pipeline/row_table.pyx",
]
modules = cythonize(compiled, build_dir="build")
for module in modules:
    module.optional = True  # where there is no C compiler, Python and aiokafka do the same at three times the cost
setup(ext_modules=modules)
