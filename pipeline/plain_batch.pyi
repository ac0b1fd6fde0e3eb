from pipeline.without_compiler import PlainBatch as PlainBatch
