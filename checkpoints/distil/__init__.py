"""SmolLM2-135M-Instruct distilled into ParaGRU and ParaLSTM: its attentions become recurrent mixers."""
