from pipeline.id_dict import IdTable as IdTable
