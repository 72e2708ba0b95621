"""Chats that a program writes: facts, arithmetic, stories, memory of what was said, small talk."""
