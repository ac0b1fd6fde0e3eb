from pipeline.id_search_numpy import add_to_filter as add_to_filter
from pipeline.id_search_numpy import mark_repeated as mark_repeated
