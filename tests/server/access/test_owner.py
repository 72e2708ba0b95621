"""An owner is a key and a collection; stores keep it as one string, which never changes."""

import pytest
from pararnn_server.access.owner import Owner, decode_owner, kept_owners

ADA = Owner("ada")


@pytest.mark.parametrize(
    ("owner", "stored"),
    [
        (Owner(""), ""),
        (ADA, "ada"),
        (ADA.responses, "ada:responses"),
        (Owner("").responses, ":responses"),
        (ADA.staging, "ada:staging"),
    ],
)
def test_the_stored_name_of_an_owner_is_that_of_the_first_version(owner: Owner, stored: str) -> None:
    assert owner.encode() == stored
    assert decode_owner(stored) == owner


def test_an_unknown_collection_is_an_error() -> None:
    with pytest.raises(ValueError, match="'files'"):
        decode_owner("ada:files")


def test_collections_of_a_key_share_its_quota_and_are_different_owners() -> None:
    assert kept_owners("ada") == (ADA, ADA.responses)
    assert len({ADA, ADA.responses, ADA.staging, Owner("bob")}) == 4
