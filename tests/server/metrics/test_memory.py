import ctypes

from pararnn_server.metrics.memory import release_free_memory, resident_memory_bytes

BLOCK = 64 << 10
COUNT = 1024


def resident() -> int:
    found = resident_memory_bytes()
    assert found is not None
    return found


def test_resident_memory_grows_with_what_is_touched() -> None:
    before = resident()
    block = bytearray(64 << 20)
    assert resident() - before > len(block) // 2


def test_free_blocks_below_one_in_use_go_back_to_the_system() -> None:
    """The allocator returns the top of its heap by itself, but not memory below a block in use."""
    malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
    malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    blocks = [malloc(BLOCK) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    top = malloc(BLOCK)
    for block in blocks:
        free(block)
    before = resident()
    release_free_memory()
    assert before - resident() > BLOCK * COUNT // 2
    free(top)
