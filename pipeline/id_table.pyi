from pipeline.without_compiler import IdTable as IdTable
