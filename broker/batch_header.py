"""What is in front of the records of a batch in Kafka's newest format.

The format is that of `https://kafka.apache.org/documentation/#recordbatch`; aiokafka has it as
`DefaultRecordBase.HEADER_STRUCT`.
"""

import struct
from typing import Final

# First offset, bytes behind this number, leader epoch, magic, checksum of all that is behind it.
UNCHECKED: Final = struct.Struct(">qiibI")
# Attributes, last offset and first and latest timestamp (of the offset: behind the first), producer, its epoch, its
# first sequence number, and how many records there are.
CHECKED: Final = struct.Struct(">hiqqqhii")
SIZE: Final = UNCHECKED.size + CHECKED.size

# Of every format: first offset, and bytes behind this number.
LENGTH: Final = struct.Struct(">qi")
MAGIC_AT: Final = 16
NEWEST_MAGIC: Final = 2

# Attributes.
NO_CODEC: Final = 0
ZSTD: Final = 4
APPEND_TIME: Final = 0x08
