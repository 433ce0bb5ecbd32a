"""`tocsin cleanup` as a user meets it: the procedures that the system file names, each once."""

from __future__ import annotations

from tests.commands.conftest import Folder

TEST_DATA = """
test_data:
  kinds:
    orders: {title: o, written_by: [load], tag: x, mark: drill,
      counted_apart: x, cleanup: "synthetics/gone.py:remove"}
    carts: {title: c, written_by: [canaries], tag: x, mark: drill,
      counted_apart: x, cleanup: "synthetics/gone.py:remove"}
    mails: {title: m, written_by: [canaries], tenant: x, mark: drill,
      counted_apart: x, expires: the sink drops them at night}
"""
REMOVES = """
def remove(api):
    with api.step("list"):
        for key in api.get("/").json():
            print("removed", key)
"""


def says(folder: Folder, procedure: str) -> None:
    system = folder.root / "systems" / "shop.yaml"
    system.write_text(system.read_text() + TEST_DATA)
    (folder.root / "synthetics" / "gone.py").write_text(procedure)


def test_each_procedure_is_called_once_and_what_goes_by_itself_is_told(folder: Folder) -> None:
    says(folder, REMOVES)
    answer = folder.tocsin("cleanup", "shop", "--target", "staging")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("synthetics/gone.py:remove done") == 1
    assert "mails go by themselves: the sink drops them at night" in answer.stdout


def test_one_that_fails_is_told(folder: Folder) -> None:
    says(folder, REMOVES.replace('api.get("/")', 'api.get("/", expect=204)'))
    answer = folder.tocsin("cleanup", "shop", "--target", "staging")
    assert answer.returncode == 1
    assert "synthetics/gone.py:remove failed: list: GET /: expected 204, found 200" in answer.stdout


def test_where_nothing_is_named_nothing_is_called_clean(folder: Folder) -> None:
    answer = folder.tocsin("cleanup", "shop", "--target", "staging")
    assert answer.returncode == 2
    assert "expected systems/shop.yaml to name what drills write, found no kind of it" in answer.stderr
    assert folder.requests == []


def test_a_procedure_that_is_not_there_is_named(folder: Folder) -> None:
    says(folder, REMOVES.replace("remove(api)", "removes(api)"))
    answer = folder.tocsin("cleanup", "shop", "--target", "staging")
    assert answer.returncode == 2
    assert "synthetics/gone.py: expected the function 'remove', found none of that name" in answer.stderr
