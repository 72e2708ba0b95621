"""States of prompts that were read before, found by their token ids."""
