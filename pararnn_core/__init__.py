"""The recurrent language models ParaGRU and ParaLSTM, without any server."""
