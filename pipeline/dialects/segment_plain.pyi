from topics.raw import Stamp
from topics.stitched import StitchedEvent

def read_plain_call(value: bytes, stamp: Stamp) -> StitchedEvent | None: ...
