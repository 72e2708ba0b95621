"""The tree against a dictionary that is searched whole."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pararnn_server.state_cache.prefix_tree import ID_BYTES, Node, PrefixTree, pack_ids

# Few distinct ids, so that prefixes are shared and nodes split; one with bytes that look like two others.
IDS = st.lists(st.sampled_from([0, 1, 256, 2**31 - 1]), min_size=1, max_size=12)


class PrefixTreeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree: PrefixTree[int] = PrefixTree()
        self.held: dict[bytes, int] = {}
        self.nodes: dict[bytes, Node[int]] = {}

    @rule(ids=IDS, more=IDS, value=st.integers())
    def put(self, ids: list[int], more: list[int], value: int) -> None:
        key = pack_ids(ids)
        node = self.tree.node(key + pack_ids(more), len(key))
        node.value = value
        self.held[key], self.nodes[key] = value, node

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.tree.remove(self.nodes.pop(key))
        del self.held[key]

    @rule(ids=IDS)
    def search(self, ids: list[int]) -> None:
        key = pack_ids(ids)
        expected = sorted((held for held in self.held if key.startswith(held)), key=len)
        found = self.tree.prefixes(key)
        assert found == [self.nodes[held] for held in expected]
        assert [(node.value, node.depth) for node in found] == [
            (self.held[held], len(held)) for held in expected
        ]

    @invariant()
    def shared_ids_are_held_once(self) -> None:
        prefixes = {key[:end] for key in self.held for end in range(ID_BYTES, len(key) + 1, ID_BYTES)}
        assert self.tree.label_bytes == ID_BYTES * len(prefixes)
        assert bool(self.tree) == bool(self.held)


TestPrefixTree = PrefixTreeMachine.TestCase
TestPrefixTree.settings = settings(max_examples=150, stateful_step_count=40)


@given(IDS, st.integers(0, 12), IDS)
def test_ids_part_where_they_differ(shared: list[int], cut: int, other: list[int]) -> None:
    tree: PrefixTree[str] = PrefixTree()
    first, second = pack_ids(shared), pack_ids([*shared[:cut], *other])
    tree.node(first, len(first)).value = "first"
    tree.node(second, len(second)).value = "second"
    for key, value in ((second, "second"), (first, "first" if first != second else "second")):
        assert tree.prefixes(key)[-1].value == value


def test_a_node_for_a_shorter_sequence_stands_above_the_longer() -> None:
    tree: PrefixTree[str] = PrefixTree()
    tree.node(pack_ids(range(1000)), 4000).value = "long"
    tree.node(pack_ids(range(1000)), 1600).value = "short"
    [found] = tree.prefixes(pack_ids(range(999)))
    assert (found.value, found.depth) == ("short", 400 * ID_BYTES)
    assert tree.label_bytes == 1000 * ID_BYTES
