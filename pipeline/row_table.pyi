from pipeline.row_dict import RowTable as RowTable
