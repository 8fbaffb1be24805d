"""Walking and flattening nested configurations."""

from gan_lab.config.tree import all_keys, flatten, walk

TREE = {"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}


def test_walk_yields_parents_first_and_numbers_the_items_of_lists():
    inner = {"c": 2}
    assert list(walk(TREE)) == [
        ("", TREE), ("a", TREE["a"]), ("a.b", [1, inner]), ("a.b.0", 1), ("a.b.1", inner), ("a.b.1.c", 2), ("a.d", {}),
        ("e", None),
    ]  # fmt: skip
    assert [key for key, _ in walk((7, {"x": 8}), "top")] == ["top", "top.0", "top.1", "top.1.x"]


def test_lists_and_empty_mappings_are_leaves():
    assert flatten(TREE) == {"a.b": [1, {"c": 2}], "a.d": {}, "e": None}
    assert flatten({}) == {"": {}} and flatten(3) == {"": 3}


def test_all_keys_has_those_of_inner_mappings():
    assert all_keys(TREE) == {"a", "a.b", "a.d", "e"} and all_keys({}) == all_keys([1]) == set()
